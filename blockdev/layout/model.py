"""A layout: where everything of one image lies, to the byte. Made from a configuration; knows no file and no tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blockdev.configuration.nodes import Subvolume

LUKS_HEADER = 16 << 20  # bytes at the begin of a region that its header takes


@dataclass(frozen=True)
class Slot:
    """One partition: ``start`` and ``length`` in bytes of its disk.

    ``kind`` is ``gpt``, ``primary``, ``extended`` or ``logical``; ``type`` a GUID (GPT) or two hexadecimal digits;
    ``name`` the configuration's name of it ("" for the extended one), ``label`` what a GPT calls it.
    """

    number: int
    name: str
    kind: str
    type: str
    start: int
    length: int
    bootable: bool = False
    uuid: str = ""
    label: str = ""

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.start + self.length


@dataclass(frozen=True)
class DiskLayout:
    """One disk image: ``size`` and ``sector`` in bytes; ``table`` is ``gpt``, ``mbr`` or "" (none)."""

    name: str
    size: int
    sector: int = 512
    table: str = ""
    id: str = ""
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Piece:
    """``length`` bytes of the disk ``disk`` from byte ``offset`` on."""

    disk: str
    offset: int
    length: int


@dataclass(frozen=True)
class Storage:
    """Something that a file system, a container or a physical volume can lie on, and the pieces it is made of.

    ``kind`` is ``disk``, ``partition``, ``logical`` or ``luks``; a ``luks`` storage has no pieces of its own: it is
    what one sees through the opened container ``base``, ``size`` bytes of it.
    """

    name: str
    kind: str
    base: str
    size: int
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class LogicalPlan:
    """A logical volume to be: ``size`` in bytes (None: ``extents`` decide), as lvcreate would be asked."""

    name: str
    size: int | None
    extents: str
    type: str = ""
    thin_pool: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupPlan:
    """A volume group: ``physical`` pairs each volume's name with the storage it lies on."""

    name: str
    physical: tuple[tuple[str, str], ...]
    logical: tuple[LogicalPlan, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class LuksPlan:
    """An encrypted container ``name`` on the storage ``on``."""

    name: str
    on: str
    label: str
    uuid: str
    key_file: str
    key_variable: str
    cipher: str
    pbkdf: str


@dataclass(frozen=True)
class VerityPlan:
    """A hash tree over the storage ``on``, in the storage ``hashes``."""

    name: str
    on: str
    hashes: str


@dataclass(frozen=True)
class FileSystem:
    """One file system and its place in the tree.

    ``storage`` names the storage it lies on; ``point`` is where it is mounted ("" for nowhere, ``none`` for swap);
    ``fstab`` has options, dump frequency and pass number, None: no line.
    """

    name: str
    storage: str
    kind: str
    label: str
    uuid: str
    options: tuple[str, ...]
    point: str = ""
    fstab: tuple[str, int, int] | None = None
    subvolumes: tuple[Subvolume, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A whole image. ``file_systems`` are in the order in which they must be mounted: ``/`` first.

    ``mount_points`` are in the order of the configuration and as it has them: so scripts are told of them.
    """

    disks: tuple[DiskLayout, ...]
    storages: Mapping[str, Storage]
    file_systems: tuple[FileSystem, ...]
    groups: tuple[GroupPlan, ...] = ()
    luks: tuple[LuksPlan, ...] = ()
    verity: tuple[VerityPlan, ...] = ()
    remarks: tuple[str, ...] = field(default_factory=tuple)
    mount_points: tuple[str, ...] = ()

    def disk(self, name: str) -> DiskLayout:
        """The disk of that name."""
        return next(disk for disk in self.disks if disk.name == name)

    @property
    def root(self) -> FileSystem:
        """The file system on ``/``."""
        return next(system for system in self.file_systems if system.point == "/")
