"""File systems written straight into an image file: no mount, no loop device, no root of the host, no copy of a tree.

Run it as root of the user namespace that owns the tree: then owners, capabilities and access lists come out as that
namespace sees them. The same tree and the same :class:`Spec` give the same bytes, at whatever offset; each module says
what its kind does not keep.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.filesystems import btrfs, ext, readonly, swap, vfat, xfs
from blockdev.filesystems.region import Region, holds, require_blank
from blockdev.filesystems.size import minimum_size
from blockdev.filesystems.spec import Spec, Subvolume, Written
from blockdev.filesystems.tools import workplace
from blockdev.tree.selinux import Labels
from blockdev.tree.walk import Statistics, measure

__all__ = ["KINDS", "Spec", "Statistics", "Subvolume", "Written", "check", "measure", "minimum_size", "write"]

_WRITERS = {
    "ext2": ext.write,
    "ext3": ext.write,
    "ext4": ext.write,
    "vfat": vfat.write,
    "squashfs": readonly.write,
    "erofs": readonly.write,
    "btrfs": btrfs.write,
    "xfs": xfs.write,
}
KINDS = (*_WRITERS, "swap")
_UNLABELLED = ("squashfs", "erofs", "btrfs")  # their tools take attributes from the tree alone


def write(
    spec: Spec,
    image: Path,
    offset: int,
    length: int,
    source: Path | None,
    without: Collection[str] = (),
    labels: Labels | None = None,
) -> Written:
    """Make a file system in ``length`` bytes of ``image`` from byte ``offset`` on, and put the tree ``source`` in it.

    The region must be blank (zeros or a hole); the image is lengthened where it ends before. ``without`` names folders
    below the source whose content belongs to another file system. ``labels`` are the SELinux labels of what is below
    the source; ext2 to ext4 and xfs keep them, vfat has none, and for the others a remark says so. Raises BuildError:
    a tool is missing or failed, the tree has no room or holds what this kind cannot, the region is not blank.
    """
    region = Region(image, offset, length)
    writer = _WRITERS.get(spec.kind)
    if writer is None and spec.kind != "swap":
        raise _unknown(spec.kind)
    require_blank(region)
    remarks: list[str] = []
    if writer is None:
        size = swap.write(spec, region)
    else:
        with workplace(region, spec.epoch, labels) as work:
            size = writer(spec, work, source, without)
            remarks = work.remarks
        if labels and spec.kind in _UNLABELLED:
            remarks.append(f"{spec.kind}: files have no SELinux labels; ext4 and xfs have them")
    return Written(size, holds(region), tuple(remarks))


def check(image: Path, offset: int, length: int, kind: str) -> None:
    """Let the kind's own checker look at a file system, changing nothing; BuildError with what it finds wrong."""
    region = Region(image, offset, length)
    if kind == "swap":
        swap.check(region)
        return
    if kind not in _WRITERS:
        raise _unknown(kind)
    with workplace(region, 1) as work:
        if kind.startswith("ext"):
            ext.check(work)
        elif kind == "vfat":
            vfat.check(work)
        elif kind == "xfs":
            xfs.check(work)
        elif kind == "btrfs":
            btrfs.check(work)
        else:
            readonly.check(kind, work)


def _unknown(kind: str) -> BuildError:
    return BuildError(f"there is no writer for the file system {kind!r}", hint=f"choose one of {', '.join(KINDS)}")
