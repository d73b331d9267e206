"""btrfs, made and filled by ``mkfs.btrfs --rootdir`` in a sparse file, whose data then moves to its place.

Kept: owners, modes, times, extended attributes, access lists, and from 6.12 on hard links; before that they become
files of their own, and the root folder is root's own with mode 755. Not kept: holes. It takes the extended attributes
that it finds, whatever their name.

It is not the same bit for bit twice: it draws ids and takes the present time, and has no option against that.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from blockdev.filesystems import whole
from blockdev.filesystems.region import copy_in
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace
from stages.errors import BuildError

KINDS = ("rw", "ro", "default", "default-ro")
_DEVICE_ID, _SUBVOLUMES = (6, 6), (6, 12)  # versions that have --device-uuid and --subvol
_BLOCK = 4096


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make the file system and put it in its place; returns its size in bytes."""
    found = whole.version(work, "mkfs.btrfs")
    refuse_wrong(spec, found)
    tree = source or _folders(spec, work)
    for subvolume in spec.subvolumes:
        _require_folder(tree, _name(subvolume.path))
    made = work.folder / "filesystem"
    with made.open("wb") as file:
        file.truncate(work.region.length // _BLOCK * _BLOCK)
    whole.run_covered(_command(spec, found, tree, made), work, tree, without)
    size = made.stat().st_size
    copy_in(made, work.region)
    made.unlink()
    return size


def refuse_wrong(spec: Spec, found: tuple[int, int]) -> None:
    """BuildError for subvolumes that this version of mkfs.btrfs, or any, cannot make."""
    if spec.subvolumes and found < _SUBVOLUMES:
        raise BuildError(
            f"mkfs.btrfs {found[0]}.{found[1]} cannot make subvolumes",
            where=", ".join(one.path for one in spec.subvolumes),
            hint="btrfs-progs 6.12 and later can (Debian 13 has it): use an engine with a build image",
        )
    names = [_name(one.path) for one in spec.subvolumes]
    for one, name in zip(spec.subvolumes, names, strict=True):
        if one.kind not in KINDS:
            raise BuildError(
                f"a subvolume is of no kind {one.kind!r}", where=one.path, hint=f"one of {', '.join(KINDS)}"
            )
        if not name or ".." in PurePosixPath(name).parts:
            raise BuildError("a subvolume is a folder below the root", where=repr(one.path), hint="such as home")
        if names.count(name) > 1:
            raise BuildError("a subvolume is there twice", where=one.path, hint="leave one out")
    if sum(one.kind.startswith("default") for one in spec.subvolumes) > 1:
        raise BuildError("only one subvolume can be the default", where=", ".join(one.path for one in spec.subvolumes))


def _name(path: str) -> str:
    return str(PurePosixPath("/", path))[1:].lstrip("/")


def _folders(spec: Spec, work: Workplace) -> Path:
    """A tree of nothing but the subvolumes."""
    tree = whole.empty_tree(spec, work)
    for subvolume in spec.subvolumes:
        path = tree / _name(subvolume.path)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
    return tree


def _require_folder(tree: Path, name: str) -> None:
    """Each part of the path must be a folder itself: what a link leads to may be outside."""
    path = tree
    for part in PurePosixPath(name).parts:
        path /= part
        if path.is_symlink() or not path.is_dir():
            what = f"the tree has no folder {str(path.relative_to(tree))!r} to be a subvolume"
            raise BuildError(what, where=name, hint="let an element make it, or leave the subvolume out")


def _command(spec: Spec, found: tuple[int, int], tree: Path, made: Path) -> list[str | Path]:
    ids = ["-U", spec.volume_id]
    if found >= _DEVICE_ID:
        ids += ["--device-uuid", str(spec.derived("device"))]
    label = ["-L", spec.label] if spec.label else []
    subvolumes = [f"--subvol={one.kind}:{_name(one.path)}" for one in spec.subvolumes]
    return ["mkfs.btrfs", "--quiet", "--force", *ids, *label, *spec.options, *subvolumes, "--rootdir", tree, made]


def check(work: Workplace) -> None:
    """Btrfs's own checker, reading only."""
    work.run(["btrfs", "check", "--readonly", "--force", work.extracted()])
