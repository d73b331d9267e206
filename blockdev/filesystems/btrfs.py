"""btrfs, made and filled by ``mkfs.btrfs --rootdir`` in a sparse file, whose data then moves to its place.

Kept: owners, modes, times, extended attributes, access lists, and from 6.12 on hard links; before that they become
files of their own, and the root folder is root's own with mode 755. Not kept: holes. It takes the extended attributes
that it finds, whatever their name.

Ids and times follow from the :class:`Spec` (:mod:`blockdev.filesystems.btrfs_normalize`), so the same tree gives the
same bytes; but mkfs.btrfs numbers files in the order in which their folders list them, so a copy of the tree on a disk
that lists them in another order gives others. With ``--mixed`` or ``--csum xxhash`` the ids stay random.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from blockdev.core.errors import BuildError
from blockdev.filesystems import readonly
from blockdev.filesystems.btrfs_normalize import Pins, pin
from blockdev.filesystems.region import Region, copy_in, copy_range
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace

KINDS = ("rw", "ro", "default", "default-ro")
_SUBVOLUMES = (6, 12)  # the version from which on there is --subvol
_BLOCK = 4096


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make the file system and put it in its place; returns its size in bytes."""
    version = readonly.version(work, "mkfs.btrfs")
    refuse_wrong(spec, version)
    tree = source or _folders(spec, work)
    for subvolume in spec.subvolumes:
        _require_folder(tree, _name(subvolume.path))
    readonly.remark_records(spec, work, tree)
    built = work.folder / "filesystem"
    with built.open("wb") as file:
        file.truncate(work.region.length // _BLOCK * _BLOCK)
    readonly.run_covered(_command(spec, tree, built), work, tree, without)
    size = built.stat().st_size
    if size > work.region.length:  # it lengthens a file that it holds to be too short
        room = f"it came to {size} bytes, and there is room for {work.region.length}: too small"
        raise work.failure("mkfs.btrfs", room)
    pieces = pin(built, Pins(spec.epoch, spec.derived))
    if pieces is None:
        copy_in(built, work.region)
    for start, stop in _joined(pieces or []):
        copy_range(Region(built, start, stop - start), Region(work.image, work.region.offset + start, stop - start))
    built.unlink()
    return size


def _joined(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(first byte, last + 1) of what (first byte, bytes) make together."""
    joined: list[tuple[int, int]] = []
    for start, length in sorted(pieces):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], start + length))
        else:
            joined.append((start, start + length))
    return joined


def refuse_wrong(spec: Spec, version: tuple[int, int]) -> None:
    """BuildError for subvolumes that this version of mkfs.btrfs, or any, cannot make."""
    if spec.subvolumes and version < _SUBVOLUMES:
        raise BuildError(
            f"mkfs.btrfs {version[0]}.{version[1]} cannot make subvolumes",
            where=", ".join(subvolume.path for subvolume in spec.subvolumes),
            hint="btrfs-progs 6.12 and later can (Debian 13 has it): use an engine with a build image",
        )
    names = [_name(subvolume.path) for subvolume in spec.subvolumes]
    for subvolume, name in zip(spec.subvolumes, names, strict=True):
        if subvolume.kind not in KINDS:
            raise BuildError(
                f"a subvolume is of no kind {subvolume.kind!r}", where=subvolume.path, hint=f"one of {', '.join(KINDS)}"
            )
        if not name or ".." in PurePosixPath(name).parts:
            raise BuildError("a subvolume is a folder below the root", where=repr(subvolume.path), hint="such as home")
        if names.count(name) > 1:
            raise BuildError("a subvolume is there twice", where=subvolume.path, hint="leave one out")
    if sum(subvolume.kind.startswith("default") for subvolume in spec.subvolumes) > 1:
        raise BuildError(
            "only one subvolume can be the default", where=", ".join(subvolume.path for subvolume in spec.subvolumes)
        )


def _name(path: str) -> str:
    return str(PurePosixPath("/", path))[1:].lstrip("/")


def _folders(spec: Spec, work: Workplace) -> Path:
    """A tree of nothing but the subvolumes."""
    tree = readonly.empty_tree(spec, work)
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


def _command(spec: Spec, tree: Path, built: Path) -> list[str | Path]:
    label = ["-L", spec.label] if spec.label else []
    subvolumes = [f"--subvol={subvolume.kind}:{_name(subvolume.path)}" for subvolume in spec.subvolumes]
    return [
        "mkfs.btrfs",
        "--quiet",
        "--force",
        "-U",
        spec.volume_id,
        *label,
        *spec.options,
        *subvolumes,
        "--rootdir",
        tree,
        built,
    ]


def check(work: Workplace) -> None:
    """Btrfs's own checker, reading only."""
    work.run(["btrfs", "check", "--readonly", "--force", work.extracted()])
