"""What there is to say about a disk image, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Partition:
    """One partition. ``start`` and ``length`` are in bytes; ``type`` is a GUID or two hexadecimal digits.

    ``uuid``: a GPT's PARTUUID, in an MBR that which Linux makes of the disk's id and the number.
    ``attributes``: the bits of GPT's attribute field that are set, by name.
    """

    number: int
    name: str
    type: str
    type_name: str
    uuid: str
    start: int
    length: int
    bootable: bool = False
    kind: str = "primary"  # extended, logical
    attributes: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The byte after the last one."""
        return self.start + self.length


@dataclass(frozen=True)
class Table:
    """A partition table: ``kind`` is gpt, mbr or none; ``id`` the disk's GUID or its eight hexadecimal digits.

    ``remarks`` are sentences about what is unusual or wrong.
    """

    kind: str
    id: str
    sector_size: int
    partitions: tuple[Partition, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a region holds. ``kind`` is a name such as ext4, vfat, luks, lvm, blank or unknown.

    ``size`` and ``free`` are in bytes, None where the format does not tell. ``clean`` is None where it has no such
    notion. ``details`` differ by kind.
    """

    kind: str
    label: str = ""
    uuid: str = ""
    size: int | None = None
    free: int | None = None
    clean: bool | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A logical volume. ``offset`` is its first byte in the image where it lies in one piece, else None."""

    name: str
    uuid: str
    size: int
    offset: int | None
    content: Content


@dataclass(frozen=True)
class Group:
    """A volume group, as the metadata on one of its physical volumes tells of it."""

    name: str
    uuid: str
    size: int
    free: int
    volumes: tuple[Volume, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region:
    """A region of the disk with something in it: a partition, or (``partition`` None) the whole disk."""

    partition: Partition | None
    start: int
    length: int
    content: Content
    group: Group | None = None


@dataclass(frozen=True)
class Loader:
    """A file on an EFI system partition that firmware or a loader can start.

    ``machine`` is UEFI's short name (x64, aa64, ...), ``kind`` what it is (shim, grub, systemd-boot, uki, linux,
    unknown); ``details`` what it says of itself.
    """

    partition: int
    path: str
    kind: str
    machine: str
    signed: bool
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BootCode:
    """Boot code in sector 0: ``kind`` is grub, syslinux, isolinux, windows, lilo, zipl,
    unknown or none.

    ``core`` is the first byte of what GRUB's code starts next, None for others.
    """

    kind: str
    core: int | None = None


@dataclass(frozen=True)
class Core:
    """GRUB's core image: where it is (bytes), how long it says it is, and in which partition (None: in a gap)."""

    start: int
    length: int
    partition: int | None


@dataclass(frozen=True)
class BootPath:
    """Whether the disk can start in one way (bios, uefi, openfirmware, channel), and why or why not."""

    possible: bool
    why: str


@dataclass(frozen=True)
class Boot:
    """The boot loaders of a disk."""

    code: BootCode
    core: Core | None
    loaders: tuple[Loader, ...]
    ways: Mapping[str, BootPath]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class System:
    """The operating system of a root file system: ``where`` it was found, its PRETTY_NAME, /etc/fstab as it is."""

    where: str
    name: str
    fstab: str


@dataclass(frozen=True)
class Inspection:
    """All that was found. ``format`` is the image's own; ``size`` the disk's, ``allocated`` the file's (bytes)."""

    path: str
    format: str
    size: int
    allocated: int
    table: Table
    places: tuple[Region, ...]
    boot: Boot
    system: System | None = None
    remarks: tuple[str, ...] = ()
