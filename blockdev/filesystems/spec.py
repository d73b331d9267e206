"""What a file system shall be, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from blockdev.core.derived_ids import within_file_system

_FIXED_FAT_SERIAL = 8


@dataclass(frozen=True)
class Subvolume:
    """A btrfs subvolume at the folder ``path`` of the tree; ``kind`` is as mkfs.btrfs has it.

    ``rw``, ``ro``, or for at most one of them ``default`` or ``default-ro``: what is mounted unless another is named.
    """

    path: str
    kind: str = "rw"


@dataclass(frozen=True)
class Spec:
    """One file system.

    ``kind`` is a name as in fstab (``ext4``, ``vfat``, ``swap``, ...), ``uuid`` what blkid shows (``ABCD-1234`` for
    vfat), empty: derived from ``seed``. ``options`` are further arguments of the kind's mkfs. ``epoch`` in seconds is
    the newest time that appears in it. ``seed`` names the object in its image (two file systems of one image must
    differ in it); everything a tool would draw at random comes from it. ``subvolumes`` are for btrfs.
    """

    kind: str
    label: str = ""
    uuid: str = ""
    options: tuple[str, ...] = ()
    epoch: int = 0
    seed: str = ""
    subvolumes: tuple[Subvolume, ...] = ()

    @property
    def volume_id(self) -> str:
        """The UUID given, or the one that follows from the seed; for vfat eight hexadecimal digits and a dash."""
        if self.uuid:
            return self.uuid
        uuid = self.derived("uuid")
        if self.kind == "vfat":
            digits = uuid.hex[:_FIXED_FAT_SERIAL].upper()
            return f"{digits[:4]}-{digits[4:]}"
        return str(uuid)

    def derived(self, purpose: str) -> UUID:
        """A UUID (version 5, RFC 9562) for one more thing of this file system that needs to be unique."""
        return within_file_system(self.seed, self.kind, purpose)


@dataclass(frozen=True)
class Written:
    """A written file system: its own ``size``, and how much of its range in the image ``holds`` data; bytes.

    ``remarks`` are sentences on what it could not keep.
    """

    size: int
    holds: int
    remarks: tuple[str, ...] = ()
