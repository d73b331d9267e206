"""Where outputs land: whole or not at all, and not again while they are what they were.

An output is unpacked beside its destination under a hidden name and renamed when it is whole; what lay there before is
exchanged in one step and then removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.engines.memory import alone, cache_folder
from stages.errors import BuildError, UsageError
from stages.request import DISK_TYPES, Output
from stages.store import write_file

SUFFIXES = {
    "oci": ".oci",
    "oci-archive": ".oci.tar",
    "docker-archive": ".docker.tar",
    "tar": ".tar",
    "squashfs": ".squashfs",
    "dir": ".dir",
    **{kind: f".{kind.partition('-')[0]}" for kind in DISK_TYPES},
}
COMPRESSED = {"none": "", "gzip": ".gz", "zstd": ".zst"}
_NO_MORE: Mapping[str, Path] = {}
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def target_of(output: Output, name: str, folder: Path) -> Path:
    """The path of an output: its option ``dest``, or its name and its type's suffix in ``folder``."""
    if "dest" in output.options:
        return Path(output.options["dest"]).absolute()
    suffix = SUFFIXES[output.type]
    if output.type == "tar":
        suffix += COMPRESSED[output.options.get("compress", "none")]
    return (folder / f"{name}{suffix}").absolute()


def check_targets(outputs: Sequence[Output], targets: Sequence[Path]) -> None:
    """Refuse what cannot be written, or must not be replaced, before any work starts: raises UsageError."""
    for number, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        for other in targets[:number]:
            if target == other or target in other.parents or other in target.parents:
                what = f"two outputs would be written to {target}" if target == other else f"{target} and {other} clash"
                raise UsageError(what, hint="give one of them a dest=PATH of its own")
        folder = next((parent for parent in target.parents if parent.exists()), Path("/"))
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(
                f"{target} cannot be written: {folder} is not a folder you may write to", hint="--dest DIR"
            )
        if target.exists() and not _may_replace(output, target):
            raise UsageError(
                f"{target} is there and is no earlier output of this type: it is left alone",
                hint=f"remove it, or: -o {output.type},dest=PATH",
            )


def _may_replace(output: Output, target: Path) -> bool:
    """Is this, as far as one can see, what an earlier build wrote (or nothing at all)?"""
    if output.type not in ("oci", "dir"):
        return target.is_file()
    if not target.is_dir():
        return False
    if not any(target.iterdir()):
        return True
    return (target / "oci-layout").is_file() if output.type == "oci" else memory().knows(target)


def fingerprint(path: Path) -> str:
    """What an output on the disk looks like: names, sizes and times of all its files ("" where it is not there)."""
    if not path.exists():
        return ""
    entries = []
    for directory, folders, files in os.walk(path):
        folders.sort()
        entries += [Path(directory, name) for name in sorted(files)]
    found = hashlib.sha256()
    for file in entries or [path]:
        status = file.lstat()
        found.update(
            f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return found.hexdigest()


@dataclass(frozen=True)
class Memory:
    """Which output key lies at which path, remembered between builds so that nothing is written twice."""

    file: Path

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            data: dict[str, dict[str, Any]] = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data

    def recall(self, target: Path) -> str:
        """The key of the output that still lies at ``target`` unchanged, or ""."""
        return str(self.recall_all(target)["have"])

    def recall_all(self, target: Path) -> dict[str, Any]:
        """The same as ``have``, and what was told of that output as ``known`` (empty where nothing was)."""
        known = self._read().get(str(target))
        if not known or known["fingerprint"] != fingerprint(target):
            return {"have": "", "known": {}}
        return {"have": known["key"], "known": known.get("known", {})}

    def knows(self, target: Path) -> bool:
        """Did a build write to ``target``, whatever lies there now?"""
        return str(target) in self._read()

    def remember(self, target: Path, key: str, known: Mapping[str, Any] | None = None) -> None:
        """Note what was just written, and what was told of it; forgets paths that are gone."""
        written = {"key": key, "fingerprint": fingerprint(target), "known": dict(known or {})}
        with alone(self.file):
            data = {path: known for path, known in self._read().items() if Path(path).exists()}
            write_file(self.file, json.dumps({**data, str(target): written}, indent=1, sort_keys=True))


def memory() -> Memory:
    """The caller's own memory."""
    return Memory(cache_folder() / "outputs.json")


def unpack(stream: Iterable[bytes], folder: Path, *, attributes: bool = False) -> None:
    """Unpack a tar stream below ``folder`` with tar, which lets no member out of it.

    Root keeps owners, and with ``attributes`` extended attributes too (file capabilities); others get what is theirs,
    which device nodes are not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--no-same-owner"]
    if os.geteuid() == 0:
        options = ["--same-owner", "--numeric-owner", *(("--xattrs", "--xattrs-include=*") if attributes else ())]
    command = ["tar", "-x", "-f", "-", "-C", str(folder), *options]
    plain = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdin=pipe, stderr=said, env=plain) as tar:
        assert tar.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError), tar.stdin:
                for data in stream:
                    tar.stdin.write(data)
        except BaseException:
            tar.kill()
            raise
        status = tar.wait()
        said.seek(0)
        errors = said.read().decode("utf-8", "replace").strip()
    if status != 0 and not _only_nodes(errors):
        first = errors.splitlines()[0].removeprefix("tar: ") if errors else "tar failed"
        raise BuildError(f"an output cannot be written: {first}", where=str(folder), hint="is there room on that disk?")


def _only_nodes(errors: str) -> bool:
    """Is all that tar complains about that it may not make device nodes."""
    lines = [line for line in errors.splitlines() if not line.endswith(": Cannot mknod: Operation not permitted")]
    return bool(errors) and lines == ["tar: Exiting with failure status due to previous errors"]


def _own(path: Path) -> None:
    """Give what root unpacked to root: in the store it belonged to a build's own ids."""
    if os.geteuid() == 0:
        for directory, _, files in os.walk(path):
            for name in (".", *files):
                os.lchown(f"{directory}/{name}", 0, 0)
        os.lchown(path, 0, 0)


def swap(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target`` in one step; what was there goes."""
    if not target.is_dir() or target.is_symlink():
        if new.is_dir() and (target.exists() or target.is_symlink()):
            target.unlink()
        new.rename(target)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    exchanged = libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0
    if not exchanged:  # a file system that cannot: two steps, the old one is there until the new one is
        aside = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
        target.rename(aside)
        new.rename(target)
        new = aside
    remove(new)


def remove(folder: Path) -> None:
    """Remove a folder with all in it, also folders in it that their owner may not write to (images have such)."""
    for directory, folders, _ in os.walk(folder):
        for name in folders:
            if not Path(directory, name).is_symlink():
                Path(directory, name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def partial(target: Path) -> Iterator[Path]:
    """A hidden folder beside ``target``, removed in the end whatever happens."""
    folder = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise BuildError(
            f"{target} cannot be written: {error.strerror or error}",
            where=str(error.filename or ""),
            hint="is there room on that disk, and may you write there?",
        ) from error
    finally:
        remove(folder)


def _nothing_beside(folder: Path) -> Mapping[Path, bytes]:
    return {}


def copy(source: Path, folder: Path) -> None:
    """Copy the files of a folder, sparse, and sharing blocks where the disk can; BuildError where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--reflink=auto", "--sparse=auto"]
    done = subprocess.run(["cp", *options, *source.iterdir(), folder], capture_output=True, text=True)
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1].removeprefix("cp: ")
        raise BuildError(f"an output cannot be written: {why}", where=str(folder), hint="is there room on that disk?")


def place(
    stream: Iterable[bytes] | Path,
    output_type: str,
    target: Path,
    wait: Callable[[], object] = lambda: None,
    beside: Callable[[Path], Mapping[Path, bytes]] = _nothing_beside,
    more: Mapping[str, Path] = _NO_MORE,
) -> None:
    """Bring an output's folder of the store and put its artifact at ``target``, ``more`` of its files at theirs.

    The folder comes as a tar stream, or is one that can be read.

    ``beside`` is called with that folder, may add to the artifact, and returns the files that go with it, by path.
    ``wait`` is called when all is whole, and raises where it must not appear after all.
    """
    with partial(target) as folder:
        if isinstance(stream, Path):
            copy(stream, folder)
        else:
            unpack(stream, folder)
        artifact = folder / "artifact"
        if output_type == "dir":
            with artifact.open("rb") as data:
                unpack(iter(lambda: data.read(1 << 20), b""), folder / "tree", attributes=True)
            artifact = folder / "tree"
        else:
            _own(artifact)
        files = beside(folder)
        for number, content in enumerate(files.values()):
            (folder / f"beside-{number}").write_bytes(content)
        wait()
        swap(artifact, target)
        for name, path in more.items():
            _own(folder / name)
            swap(folder / name, path)
        for number, path in enumerate(files):
            (folder / f"beside-{number}").rename(path)


def place_side_files(stream: Iterable[bytes], folder: Path) -> list[str]:
    """Put what scripts wrote beside the image into ``folder``, file by file; returns the paths, relative to it."""
    placed = []
    with partial(folder / "side-files") as source:
        unpack(stream, source)
        _own(source / "artifact")
        for file in sorted((source / "artifact").rglob("*")):
            path = file.relative_to(source / "artifact")
            if file.is_dir() and not file.is_symlink():
                (folder / path).mkdir(parents=True, exist_ok=True)
            else:
                file.rename(folder / path)
                placed.append(str(path))
    return placed
