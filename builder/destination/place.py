"""Where outputs land: whole or not at all, and not again while they are what they were.

An output is received beside its destination in a hidden folder and renamed when it is whole; what lay there before is
exchanged in one step and then removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.syscalls import AT_FDCWD
from builder.destination import space
from builder.destination.partial import REPLACED, partial, remove
from builder.destination.receive import copy, receive, refused

_NO_MORE: Mapping[str, Path] = {}
_RENAME_EXCHANGE = 2
CLOSED = 0o700


def unpack(stream: Iterable[bytes], folder: Path, *, attributes: bool = False) -> None:
    """Unpack an image's tree below ``folder`` with tar, which lets no member out of it.

    Root keeps owners, and with ``attributes`` extended attributes too (file capabilities); others get what is theirs,
    which device nodes are not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--no-same-owner"]
    if os.geteuid() == 0:
        options = ["--same-owner", "--numeric-owner", *(("--xattrs", "--xattrs-include=*") if attributes else ())]
    command = ["tar", "-x", "-f", "-", "-C", str(folder), *options]
    plain = {**{name: value for name, value in os.environ.items() if name != "TAR_OPTIONS"}, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as messages, subprocess.Popen(command, stdin=pipe, stderr=messages, env=plain) as tar:
        assert tar.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError), tar.stdin:
                for data in stream:
                    tar.stdin.write(data)
        except BaseException:
            tar.kill()
            raise
        status = tar.wait()
        messages.seek(0)
        errors = messages.read().decode("utf-8", "replace").strip()
    if status != 0 and not _only_nodes(errors):
        if space.is_full(folder):  # what tar says of it is one file's name
            raise space.full(folder)
        first = errors.splitlines()[0].removeprefix("tar: ") if errors else "tar failed"
        raise BuildError(f"an output cannot be written: {first}", where=str(folder))


def _only_nodes(errors: str) -> bool:
    """Is all that tar complains about that it may not make device nodes."""
    lines = [line for line in errors.splitlines() if not line.endswith(": Cannot mknod: Operation not permitted")]
    return bool(errors) and lines == ["tar: Exiting with failure status due to previous errors"]


def swap(new: Path, target: Path) -> None:
    """Put ``new``, which lies in a partial folder, in the place of ``target`` in one step; what was there goes."""
    if not target.is_dir() or target.is_symlink():
        if new.is_dir() and os.path.lexists(target):
            target.unlink()
        new.rename(target)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    exchanged = libc.renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0
    if not exchanged:  # a file system that cannot: two steps, and a build that is killed between them has it put back
        aside = new.with_name(REPLACED)
        aside.mkdir(exist_ok=True)
        target.rename(aside / target.name)
        new.rename(target)
        new = aside / target.name
    remove(new)


def _nothing_beside(folder: Path) -> Mapping[Path, bytes]:
    return {}


def bring(
    stream: Iterable[bytes] | Path,
    output_type: str,
    target: Path,
    folder: Path,
    beside: Callable[[Path], Mapping[Path, bytes]] = _nothing_beside,
    more: Mapping[str, Path] = _NO_MORE,
) -> dict[Path, Path]:
    """Bring an output's folder of the store into the partial ``folder``: what is to appear, by its place, in order.

    That is the artifact at ``target``, ``more`` of its files at theirs, and the files that go with it: ``beside`` is
    called with that folder, may add to the artifact, and returns them by path. The folder of the store comes as a tar
    stream, or is one that can be read. Raises BuildError.
    """
    try:
        return _bring(stream, output_type, target, folder / "store", beside, more)
    except OSError as error:
        raise space.explained(error, target) from error


def _bring(
    stream: Iterable[bytes] | Path,
    output_type: str,
    target: Path,
    folder: Path,
    beside: Callable[[Path], Mapping[Path, bytes]],
    more: Mapping[str, Path],
) -> dict[Path, Path]:
    links: Mapping[str, str] = {}
    if isinstance(stream, Path):
        copy(stream, folder)
    else:
        links = receive(stream, folder)
    for name, to in links.items():
        raise refused(f"it is a link to {to}", name)
    artifact = folder / "artifact"
    if artifact.is_dir() != (output_type == "oci") or not artifact.exists():
        raise refused(f"no output of the type {output_type} is in it", "artifact")
    if output_type == "dir":
        artifact = _tree(artifact, folder.parent / "tree", target)
    whole = {target: artifact, **{path: folder / name for name, path in more.items()}}
    for number, (path, content) in enumerate(beside(folder).items()):
        whole[path] = folder.parent / f"beside-{number}"
        whole[path].write_bytes(content)
    return whole


def _tree(archive: Path, folder: Path, target: Path) -> Path:
    """The image's tree, unpacked."""
    with archive.open("rb") as data:
        unpack(iter(lambda: data.read(1 << 20), b""), folder, attributes=True)
    archive.unlink()
    return folder


def close_tree(tree: Path, target: Path) -> bool:
    """Give a tree that root has unpacked the mode 0700, unless other users cannot come to ``target`` anyway.

    Its set-uid programs, capabilities and devices are real ones: on this machine they would be everybody's.
    """
    if os.geteuid() != 0 or any(_is_closed(folder) for folder in target.absolute().parents):
        return False
    tree.chmod(CLOSED)
    return True


def _is_closed(folder: Path) -> bool:
    """Can none but root and its group enter the folder."""
    status = folder.stat()
    return not status.st_mode & 0o001 and (not status.st_mode & 0o010 or status.st_gid == 0)


def place_output(stream: Iterable[bytes] | Path, output_type: str, target: Path) -> None:
    """Bring one output, and put its artifact at ``target``."""
    with partial(target) as folder:
        swap(bring(stream, output_type, target, folder)[target], target)
