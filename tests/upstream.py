"""diskimage-builder itself and elements of others, as test material: fetched once, kept below ~/.cache/dib-ctr-tests.

Nothing of it is part of dib-ctr. The index is pip's (its configuration or ``PIP_INDEX_URL``). Only a package's own
files are fetched, none of what it depends on: its elements are read, not its Python code (but see ``python``).

``python -m tests.upstream --newest`` prints the newest version that the index has, ``--pinned`` the one that the tests
take, ``--pin VERSION`` has them take another.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

VERSION = "3.43.0"
# Elements of others, by the name of their package: its version, and their folder in it.
OTHERS = {
    "ironic-python-agent-builder": ("7.4.0", "share/ironic-python-agent-builder/dib"),
    "sahara-image-elements": ("19.0.0", "share/sahara-elements/elements"),
    "tripleo-image-elements": ("15.0.0", "share/tripleo-image-elements"),
    "tripleo-puppet-elements": ("16.0.0", "share/tripleo-puppet-elements"),
}

# The same, of those that are in a source package only.
SOURCES = {
    "octavia": ("19.0.0", "elements"),
    "trove": ("26.0.0", "integration/scripts/files/elements"),
}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dib-ctr-tests"


def _install(folder: Path, requirement: str, within: str) -> None:
    """Make ``folder`` hold a package, which has ``within``; it appears whole, also where two runs start at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="upstream-", dir=folder.parent))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(work)]
    try:
        done = subprocess.run([*command, requirement], check=False, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            message = f"pip could not fetch {requirement}:\n{done.stderr.strip()}"
            raise RuntimeError(message)
        work.chmod(0o755)  # a build's root, another user, reads the elements
        try:
            work.rename(folder)
        except OSError:
            if not (folder / within).is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetched(name: str, version: str, within: str) -> Path:
    folder = _cache() / f"{name}-{version}"
    if not (folder / within).is_dir():
        _install(folder, f"{name}=={version}", within)
    return folder / within


@cache
def package() -> Path:
    """The folder of the Python package ``diskimage_builder``, with ``elements`` and ``lib`` in it.

    Its commands (``dib-lint``, ``disk-image-create``) are in the folder ``bin`` beside it, and do not start without
    the package's dependencies. RuntimeError with pip's message where it cannot be had.
    """
    return _fetched("diskimage-builder", VERSION, "diskimage_builder")


def elements() -> Path:
    """The folder of upstream's elements."""
    return package() / "elements"


@cache
def python() -> Path:
    """The interpreter of a virtual environment that has diskimage-builder and all that it depends on.

    ``DIB_CTR_COMPAT_DIB`` names one that is there. RuntimeError with pip's message where it cannot be had.
    """
    given = os.environ.get("DIB_CTR_COMPAT_DIB")
    folder = Path(given) if given else _cache() / f"diskimage-builder-{VERSION}-environment"
    if not given and not (folder / "bin/python").exists():
        _cache().mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="program-", dir=_cache()))
        try:
            subprocess.run([sys.executable, "-m", "venv", str(work)], check=True, timeout=300)
            # It imports pkg_resources, which newer setuptools has dropped; older ones cannot make its metadata.
            wanted = [f"diskimage-builder=={VERSION}", "setuptools>=70.1,<81"]
            command = [str(work / "bin/python"), "-m", "pip", "install", "--quiet", *wanted]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
            if done.returncode != 0:
                message = f"pip could not fetch diskimage-builder {VERSION}:\n{done.stderr.strip()}"
                raise RuntimeError(message)
            with contextlib.suppress(OSError):  # another run was quicker
                work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder / "bin/python"


def source() -> Path:
    """The folder of diskimage-builder's source package, with its functional tests. RuntimeError as for ``package``."""
    return _source("diskimage-builder", VERSION)


@cache
def _source(name: str, version: str) -> Path:
    folder = _cache() / f"{name}-{version}-source"
    if not folder.is_dir():
        _cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="source-", dir=_cache()) as work:
            # This environment has what metadata is made with: none is made for this alone.
            command = [str(python()), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            done = subprocess.run(
                [*command, "--no-build-isolation", "--dest", work, f"{name}=={version}"],
                check=False,
                capture_output=True,
                text=True,
                timeout=600,
            )
            if done.returncode != 0:
                message = f"pip could not fetch the source of {name} {version}:\n{done.stderr.strip()}"
                raise RuntimeError(message)
            (archive,) = Path(work).glob("*.tar.gz")
            unpacked = Path(work, "unpacked")
            unpacked.mkdir(mode=0o755)
            subprocess.run(["tar", "-xf", archive, "--strip-components=1", "-C", unpacked], check=True)
            with contextlib.suppress(OSError):  # another run was quicker
                unpacked.rename(folder)
    return folder


def others(name: str) -> Path:
    """The folder of the elements of a package of ``OTHERS`` or ``SOURCES``."""
    if name in OTHERS:
        return _fetched(name, *OTHERS[name])
    version, within = SOURCES[name]
    return _source(name, version) / within


def newest() -> str:
    """The newest version that the index has; RuntimeError with pip's message where it cannot be asked."""
    command = [sys.executable, "-m", "pip", "index", "versions", "diskimage-builder"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    found = re.match(r"diskimage-builder \(([0-9.]+)\)", done.stdout)
    if not found:
        message = f"pip could not say which versions there are:\n{done.stderr.strip()}"
        raise RuntimeError(message)
    return found[1]


def pinned(text: str, version: str) -> str:
    """The text of this file with another version."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        message = f"{version!r} is no version"
        raise ValueError(message)
    return re.sub(r'^VERSION = ".*"$', f'VERSION = "{version}"', text, count=1, flags=re.MULTILINE)


def main() -> None:
    """Answer what the command line asks."""
    parser = argparse.ArgumentParser(description="The version of diskimage-builder that is compared with.")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--newest", action="store_true")
    asked.add_argument("--pinned", action="store_true")
    asked.add_argument("--pin", metavar="VERSION")
    options = parser.parse_args()
    if options.pin:
        file = Path(__file__)
        file.write_text(pinned(file.read_text(encoding="utf-8"), options.pin), encoding="utf-8")
    else:
        print(newest() if options.newest else VERSION)


if __name__ == "__main__":
    main()
