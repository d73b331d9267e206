"""Packages of Debian's format taken apart, changed and built, and signed suites of them, by dpkg and apt-ftparchive."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tests.mirrors.keys import Key


def fields(root: Path) -> dict[str, str]:
    """The control file of an unpacked package (deb-control(5))."""
    found: dict[str, str] = {}
    key = ""
    for line in (root / "DEBIAN/control").read_text().splitlines():
        if line[0] == " ":
            found[key] += f"\n{line}"
        else:
            key, _, value = line.partition(":")
            found[key] = value.strip()
    return found


def relate(root: Path, **changes: Callable[[str], str]) -> None:
    """Change fields of an unpacked package: each by a function of what it was; a field that becomes empty goes."""
    found = fields(root)
    for name, change in changes.items():
        found[name] = change(found.get(name, ""))
    (root / "DEBIAN/control").write_text("".join(f"{name}: {text}\n" for name, text in found.items() if text))


def control(root: Path, name: str, version: str, depends: Iterable[str], architecture: str = "all") -> None:
    """Write the control file of a new package."""
    (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
    needs = f"Depends: {', '.join(depends)}\n" if depends else ""
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        f"Maintainer: Nobody <nobody@mirror.invalid>\n{needs}"
        f"Section: misc\nPriority: optional\nDescription: {name} of a synthetic archive\n"
    )


def pack(root: Path, target: Path) -> None:
    """Build the package of an unpacked one into a folder, compressed as Ubuntu does."""
    run(["dpkg-deb", "-Zzstd", "-z1", "--build", str(root), str(target)])


def publish(
    folder: Path,
    suite: str,
    components: Sequence[str],
    about: Mapping[str, str],
    key: Key,
    architecture: str = "amd64",
) -> None:
    """Write the lists of a suite's packages (``pool/SUITE/COMPONENT``), and the index of them signed by ``key``.

    ``about`` are more fields of the index: Origin, Codename ...
    """
    dists = folder / "dists" / suite
    shutil.rmtree(dists, ignore_errors=True)
    for component in components:
        lists = dists / component / f"binary-{architecture}"
        lists.mkdir(parents=True)
        text = run(["apt-ftparchive", "packages", f"pool/{suite}/{component}"], cwd=folder)
        (lists / "Packages").write_bytes(text)
        (lists / "Packages.xz").write_bytes(lzma.compress(text, preset=0))
    release = {**about, "Suite": suite, "Architectures": architecture, "Components": " ".join(components)}
    options = [word for name, text in release.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={text}")]
    text = run(["apt-ftparchive", *options, "release", str(dists)])
    (dists / "Release").write_bytes(text)
    (dists / "InRelease").write_bytes(key.clear_sign(text))


def run(command: list[str], cwd: Path | None = None, **variables: str) -> bytes:
    """Run a command; what it prints. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command[:3])} failed:\n{done.stderr.decode(errors='replace')[-3000:]}"
        raise RuntimeError(message)
    return done.stdout
