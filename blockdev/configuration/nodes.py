"""The nodes of a block-device configuration, in graph form: each names its base; all carry the line they stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from blockdev.configuration.sizes import Size


@dataclass(frozen=True)
class SourceLocation:
    """Where a node stands in its file: the line of its first key's parent, and the lines of its ``keys``."""

    file: str
    line: int
    keys: Mapping[str, int] = field(default_factory=dict, compare=False)

    def of(self, key: str = "") -> str:
        """``file:line`` of a key; of the node where it has no such key."""
        return f"{self.file}:{self.keys.get(key, self.line)}"

    def __str__(self) -> str:
        return self.of()


@dataclass(frozen=True)
class Node:
    """What all nodes have: a unique ``name``, what it is built on (``base``, "" for a disk), and its place."""

    name: str
    base: str
    where: SourceLocation

    @property
    def bases(self) -> tuple[str, ...]:
        """The nodes that must be there before this one."""
        return (self.base,) if self.base else ()


@dataclass(frozen=True)
class Disk(Node):
    """``local_loop``: a disk image. ``size`` in bytes, None: computed. ``block_size``: its logical sector, in bytes."""

    size: int | None = None
    block_size: int = 512


@dataclass(frozen=True)
class Partition(Node):
    """One partition; ``base`` is the disk. ``type`` as written (MBR: hexadecimal; GPT: sgdisk's code or a GUID)."""

    size: Size
    type: str
    boot: bool = False
    primary: bool = False
    uuid: str = ""
    label: str = ""


@dataclass(frozen=True)
class Table(Node):
    """``partitioning``: ``label`` is ``mbr`` or ``gpt``; ``align`` in bytes."""

    label: str
    align: int
    partitions: tuple[Partition, ...]
    id: str = ""


@dataclass(frozen=True)
class Physical(Node):
    """An entry of ``pvs``."""

    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group(Node):
    """An entry of ``vgs`` on the physical volumes ``members``; ``base`` is the first of them."""

    members: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def bases(self) -> tuple[str, ...]:
        return self.members


@dataclass(frozen=True)
class Logical(Node):
    """An entry of ``lvs``: ``size`` in bytes, or ``extents`` as lvcreate's ``-l`` takes them."""

    size: int | None = None
    extents: str = ""
    type: str = ""
    thin_pool: str = ""
    options: tuple[str, ...] = ()

    @property
    def bases(self) -> tuple[str, ...]:
        return (self.base, self.thin_pool) if self.thin_pool else (self.base,)


@dataclass(frozen=True)
class Luks(Node):
    """``luks``: an encrypted container. The passphrase comes from ``key_file`` or the variable ``key_variable``."""

    label: str = ""
    uuid: str = ""
    key_file: str = ""
    key_variable: str = ""
    cipher: str = "aes-xts-plain64"
    pbkdf: str = "argon2id"


@dataclass(frozen=True)
class Verity(Node):
    """``verity``: the hash tree over ``base``, written to the partition ``hashes``."""

    hashes: str = ""

    @property
    def bases(self) -> tuple[str, ...]:
        return (self.base, self.hashes)


@dataclass(frozen=True)
class Subvolume:
    """A btrfs subvolume at ``path`` below the file system's root; ``kind`` is ``rw``, ``ro`` or ``default``."""

    path: str
    kind: str = "rw"


@dataclass(frozen=True)
class MakeFs(Node):
    """``mkfs``: a file system; ``type`` and ``label`` may come from the options of the build ("" here)."""

    type: str = ""
    label: str = ""
    uuid: str = ""
    options: tuple[str, ...] | None = None
    subvolumes: tuple[Subvolume, ...] = ()


@dataclass(frozen=True)
class Mount(Node):
    """``mount``: ``base`` is a file system, ``point`` an absolute path."""

    point: str = ""


@dataclass(frozen=True)
class Fstab(Node):
    """``fstab``: ``base`` is a mount."""

    options: str = "defaults"
    dump: int = 0
    passno: int = 2


_Kind = TypeVar("_Kind", bound=Node)


@dataclass(frozen=True)
class Configuration:
    """A whole configuration: ``nodes`` in the order of the file (what is nested after what it is nested in).

    ``version`` 1 is diskimage-builder's own meaning, 2 ours (percentages of the whole disk, unknown keys refused).
    ``remarks`` are sentences on what the reader took notice of and left alone.
    """

    nodes: tuple[Node, ...]
    file: str
    version: int = 1
    remarks: tuple[str, ...] = ()

    def of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """All nodes of one kind, in order."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    def find(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)
