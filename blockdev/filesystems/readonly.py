"""squashfs and erofs: their mkfs wants a file of its own (it cuts or lengthens it, or knows no offset).

They write into a sparse file beside the image, whose data then moves to its place: blocks are shared where the host's
disk can share them, else copied once. The tree itself is read once and never copied.

| | kept | not kept |
| --- | --- | --- |
| squashfs | owners, modes, times, links, extended attributes | POSIX access lists, label, UUID: it has none |
| erofs | owners, modes, times, links, attributes, access lists | holes, ``/lost+found``; before 1.7 the label |

Of records (:mod:`blockdev.tree.recorded_status`) squashfs gets the device nodes; what else a record says, and with
erofs all of it, stays an attribute of the file. Folders keep their own times up to the image's, and both take the
extended attributes that they find, whatever their name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from blockdev.core import tools
from blockdev.filesystems.region import copy_in
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace
from blockdev.tree.walk import WalkEntry, walk

_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
Make = Callable[[Spec, Workplace, Path, Path], list["str | Path"]]
# Covers folders whose content belongs to other file systems, in a mount namespace that ends with the command.
_COVER = """
set -eu
work=$1 count=$2
shift 2
for number in $(seq "$count"); do
    mkdir "$work/cover$number"
    chown --reference="$1" "$work/cover$number"
    chmod --reference="$1" "$work/cover$number"
    touch -d "@$SOURCE_DATE_EPOCH" "$work/cover$number"
    mount --bind "$work/cover$number" "$1"
    shift
done
exec "$@"
"""


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make the file system and put it in its place; returns its size in bytes."""
    tree = source or empty_tree(spec, work)
    built = work.folder / "filesystem"
    command = _MAKE[spec.kind](spec, work, tree, built)
    output = run_covered(command, work, tree, without)
    size = built.stat().st_size
    if size > work.region.length:
        room = f"it came to {size} bytes, and there is room for {work.region.length}: too small"
        raise work.failure(f"mkfs for {spec.kind}", room)
    if "ENOSPC" in output:
        raise work.failure(f"mkfs for {spec.kind}", output)
    copy_in(built, work.region)
    built.unlink()
    return size


def empty_tree(spec: Spec, work: Workplace) -> Path:
    """A tree with nothing in it."""
    tree = work.folder / "empty"
    tree.mkdir(mode=0o755)
    os.utime(tree, (spec.epoch, spec.epoch))
    return tree


def run_covered(command: list[str | Path], work: Workplace, tree: Path, without: Collection[str]) -> str:
    """Run a tool that reads a tree, so that it sees the folders ``without`` empty; returns what it printed."""
    covered = [tree / name.strip("/") for name in without]
    covered = [path for path in covered if path.is_dir() and not path.is_symlink()]
    if covered:
        tools.find(str(command[0]))
        shell: list[str | Path] = ["unshare", "--mount", "/bin/sh", "-c", _COVER, "sh"]
        command = [*shell, work.folder, str(len(covered)), *covered, *command]
    return work.run(command)


def _squashfs(spec: Spec, work: Workplace, tree: Path, built: Path) -> list[str | Path]:
    # The time comes from SOURCE_DATE_EPOCH; with -mkfs-time beside it mksquashfs refuses to start.
    command: list[str | Path] = ["mksquashfs", tree, built, "-noappend", "-no-progress", "-quiet", *spec.options]
    nodes = [entry for entry in walk(tree) if entry.kind in _DEVICES and b'"' not in entry.name]
    if nodes:  # where a record stands for a node, the record stays out and the node is told of
        pseudo, left_out = work.folder / "nodes", work.folder / "left-out"
        pseudo.write_bytes(b"".join(map(_pseudo_definition, nodes)))
        left_out.write_bytes(b"".join(entry.name + b"\n" for entry in nodes))
        command += ["-pf", pseudo, "-ef", left_out]
    return command


def _pseudo_definition(node: WalkEntry) -> bytes:
    """A line of mksquashfs' pseudo definitions."""
    status = node.status
    letter = b"c" if node.kind == stat.S_IFCHR else b"b"
    numbers = (status.st_mode & 0o7777, status.st_uid, status.st_gid)
    device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return b'"%s" %s %o %d %d %d %d\n' % (node.name, letter, *numbers, *device)


def remark_records(spec: Spec, work: Workplace, tree: Path) -> None:
    """Say what a tool that reads the tree itself takes for empty files."""
    count = sum(entry.kind in _DEVICES for entry in walk(tree))
    if count:
        work.remarks.append(
            f"{spec.kind}: device nodes that scripts made are empty files ({count}); ext4, xfs and squashfs have them"
        )


def _erofs(spec: Spec, work: Workplace, tree: Path, built: Path) -> list[str | Path]:
    remark_records(spec, work, tree)
    tool_version = version(work, "mkfs.erofs")
    label = ["-L", spec.label] if spec.label and tool_version >= (1, 7) else []
    # The newest time there may be; without the second word later versions take it for the only one.
    times = ["-T", str(spec.epoch), *(["--mkfs-time"] if tool_version >= (1, 8) else [])]
    return ["mkfs.erofs", "--quiet", "-U", spec.volume_id, *times, *label, *spec.options, built, tree]


_MAKE: dict[str, Make] = {"squashfs": _squashfs, "erofs": _erofs}


def version(work: Workplace, tool: str, option: str = "--version") -> tuple[int, int]:
    """The version of a tool, from what it says of itself."""
    done = tools.run([tool, option], env=work.environment(), together=True)
    match = re.search(rb"(\d+)\.(\d+)", done.out)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def check(kind: str, work: Workplace) -> None:
    """The kind's own checker, reading only."""
    image = work.extracted()
    if kind == "erofs":
        work.run(["fsck.erofs", image])
    else:
        work.run(["unsquashfs", "-lls", image])
