"""From the text of a block-device configuration to its nodes: tree and graph form, alone or mixed.

The grammar is diskimage-builder's (a list; each item a map with one key, the kind of node), with ``luks``, ``verity``
and btrfs ``subvolumes`` beyond it. A map with ``version: 2`` and the list below ``block-device`` is the strict form:
keys that nobody knows are refused, and a percentage is one of the whole disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from blockdev.configuration import types
from blockdev.configuration.node_reader import NodeEntry, in_words
from blockdev.configuration.nodes import (
    Configuration,
    Disk,
    Fstab,
    Group,
    Logical,
    Luks,
    MakeFs,
    Mount,
    Node,
    Partition,
    Physical,
    Subvolume,
    Table,
    Verity,
)
from blockdev.configuration.sizes import EXPECTED, parse_bytes, parse_size
from blockdev.core import yaml_document
from blockdev.core.suggest import nearest

VERSION, LIST = "version", "block-device"
STRICT = 2
_MIB = 1 << 20
_SIZE = f"{EXPECTED}; or a percentage such as 40%; or rest"
_PAGES = re.compile(r"(?:-p |--pagesize[ =])(?:4096|8192|16384|32768|65536)")
_COMMON = frozenset({"name", "base"})
KEYS: dict[str, frozenset[str]] = {
    "local_loop": frozenset({"size", "directory", "block_size"}),
    "partitioning": frozenset({"label", "align", "partitions", "id"}),
    "partition": frozenset({"size", "flags", "type", "uuid", "label"}),
    "lvm": frozenset({"pvs", "vgs", "lvs"}),
    "pv": frozenset({"options"}),
    "vg": frozenset({"options"}),
    "lv": frozenset({"size", "extents", "options", "type", "thin-pool"}),
    "luks": frozenset({"label", "uuid", "key-file", "key-variable", "cipher", "pbkdf"}),
    "verity": frozenset({"hash"}),
    "mkfs": frozenset({"type", "label", "opts", "uuid", "subvolumes"}),
    "subvolume": frozenset({"path", "kind"}),
    "mount": frozenset({"mount_point"}),
    "fstab": frozenset({"options", "dump-freq", "fsck-passno"}),
}


def read(text: str, file: str) -> Configuration:
    """Read a configuration; ``file`` is what messages call it. UsageError with file and line for what is no such."""
    document = yaml_document.read(text, file, texts=True)
    data: Any = document.data
    at: tuple[str, ...] = ()
    version = 1
    if isinstance(data, dict):
        top = NodeEntry(document, (), "the configuration", data)
        version = top.converted(VERSION, f"{STRICT}, or no version and a plain list", int, "")
        if version != STRICT:
            top.refuse(VERSION, f"{STRICT}, or no version and a plain list")
        for key in data:
            if key not in {VERSION, LIST}:
                document.refuse(f"the key {key!r} is not known", key, hint=f"expected: {VERSION} and {LIST}")
        data, at = data.get(LIST), (LIST,)
    if not isinstance(data, list) or not data:
        document.refuse(
            f"the configuration is {in_words(data)}",
            *at,
            hint="expected: a list of nodes, the first: - local_loop: ...",
        )
    reader = _Reader(document, version)
    for index, item in enumerate(data):
        reader.item(NodeEntry.of(document, (*at, index), f"item {index + 1} of the list", item))
    return Configuration(tuple(reader.nodes), file, version, tuple(reader.remarks))


class _Reader:
    """Collects the nodes of one document."""

    def __init__(self, document: yaml_document.Document, version: int) -> None:
        self.document = document
        self.version = version
        self.nodes: list[Node] = []
        self.remarks: list[str] = []

    def item(self, entry: NodeEntry) -> None:
        """One item of the list: a map with one key."""
        if len(entry.data) != 1:
            keys = ", ".join(map(str, entry.data)) or "none"
            self.document.refuse(
                f"{entry.what} has the keys {keys}",
                *entry.at,
                hint="expected: one key, the kind of node; is it indented?",
            )
        self._node(entry, next(iter(entry.data)), "")

    def _node(self, parent: NodeEntry, kind: str, base: str) -> None:
        if kind not in _NODES:
            kinds = sorted(_NODES)
            self.document.refuse(
                f"{kind!r} is no kind of node",
                *parent.at,
                kind,
                hint=nearest(kind, kinds) or f"expected: one of {', '.join(kinds)}",
            )
        entry = NodeEntry.of(self.document, (*parent.at, kind), kind, parent.data[kind])
        _NODES[kind](self, entry, self._base(entry, kind, base))

    def _base(self, entry: NodeEntry, kind: str, enclosing: str) -> str:
        if kind == "local_loop":
            return ""
        if kind == "lvm":  # volume groups lie on what their pvs name: a name or a list, it is of use for the own name
            base = entry.data.get("base", enclosing)
            return base if isinstance(base, str) else "_".join(entry.texts("base", "a node's name, or a list of them"))
        return entry.text("base", "the name of the node that it is built on", enclosing or None)

    def _nested(self, entry: NodeEntry, kind: str, name: str, kinds: tuple[str, ...]) -> None:
        """Nodes inside the entry of the node ``name``, and keys that nobody knows."""
        for key, value in entry.data.items():
            if key in _NODES and key in kinds:
                self._node(entry, key, name)
            elif key not in KEYS[kind] | _COMMON:
                keys = sorted(KEYS[kind] | _COMMON | set(kinds))
                odd = isinstance(value, dict | list)
                if self.version >= STRICT or odd:
                    self.document.refuse(
                        f"{entry.title()}: the key {key!r} is not known here",
                        *entry.at,
                        key,
                        hint=nearest(str(key), keys) or f"expected: one of {', '.join(keys)}",
                    )
                self._remark(entry, str(key), f"nobody looks at the key {key!r}")

    def _remark(self, entry: NodeEntry, key: str, what: str) -> None:
        self.remarks.append(f"{self.document.where(*entry.at, key)}: {entry.title()}: {what}")

    def disk(self, entry: NodeEntry, _base: str) -> None:
        name = entry.name_given()
        sector = entry.converted("block_size", "512 or 4096 (bytes)", int, "512")
        if sector not in {512, 4096}:
            entry.refuse("block_size", "512 or 4096 (bytes)")
        self.nodes.append(Disk(name, "", entry.where, entry.bytes("size"), sector))
        if "directory" in entry.data:
            self._remark(entry, "directory", "its directory has no effect: images are written where the outputs go")
        self._nested(entry, "local_loop", name, ("partitioning", "mkfs", "luks", "lvm", "verity"))

    def table(self, entry: NodeEntry, base: str) -> None:
        name = entry.name(f"partitioning_{base}")
        label = entry.one_of("label", ("mbr", "gpt"))
        align = entry.converted("align", EXPECTED, parse_bytes, "1MiB")
        if align < 512 or align % 512:
            entry.refuse("align", "a multiple of 512 bytes, at least one")
        if label == "gpt" and "align" in entry.data and self.version < STRICT:
            self._remark(entry, "align", "align has no effect in a gpt (as in diskimage-builder; version: 2 heeds it)")
        parts = [(part, self._partition(part, label, base)) for part in entry.entries("partitions", "partition")]
        partitions = tuple(node for _, node in parts)
        self.nodes.append(Table(name, base, entry.where, label, align, partitions, entry.text("id", "an id", "")))
        self._nested(entry, "partitioning", name, ())
        for part, node in parts:
            self.nodes.append(node)
            self._nested(part, "partition", node.name, ("mkfs", "luks", "lvm", "verity"))

    def _partition(self, entry: NodeEntry, label: str, disk: str) -> Partition:
        flags = entry.texts("flags", "a list of boot and primary", ())
        for flag in flags:
            if flag not in {"boot", "primary"}:
                entry.refuse("flags", "a list of boot and primary")
        if label == "gpt" and "primary" in flags:
            entry.refuse("flags", "no primary in a gpt, whose partitions are all alike")
        if label == "gpt" and flags:
            self._remark(
                entry, "flags", "the flag boot has no effect in a gpt: what is started there has the type ef00"
            )
        kind = entry.text("type", "a partition type", "83" if label == "mbr" else "8300")
        if label == "gpt" and types.is_unknown_code(kind):
            expected = types.expected_of_gpt(kind)
            if self.version >= STRICT:
                entry.refuse("type", expected)
            what = f"sgdisk has no type {kind!r} and takes it for Linux's (8300)"
            self._remark(entry, "type", f"{what}; expected: {expected}")
        return Partition(
            name=entry.name_given(),
            base=disk,
            where=entry.where,
            size=entry.converted("size", _SIZE, parse_size, ""),
            type=kind,
            boot="boot" in flags,
            primary="primary" in flags,
            uuid=entry.text("uuid", "a UUID", ""),
            label=entry.text("label", "a name", ""),
        )

    def lvm(self, entry: NodeEntry, base: str) -> None:
        # Nothing is built on it by its name; without one it has diskimage-builder's, lvm_BASE.
        if base:
            entry.name(f"lvm_{base}")
        else:
            entry.name_given()
        self._nested(entry, "lvm", "", ())
        for part in entry.entries("pvs", "pv"):
            name = part.name_given()
            base = part.text("base", "a partition, or another node to lie on")
            self.nodes.append(Physical(name, base, part.where, part.texts("options", "a list of options", ())))
            self._nested(part, "pv", name, ())
        for part in entry.entries("vgs", "vg"):
            name = part.name_given()
            members = part.texts("base", "a list of the names of pvs")
            if not members:
                part.refuse("base", "a list of the names of pvs")
            options = part.texts("options", "a list of options", ())
            self.nodes.append(Group(name, members[0], part.where, members, options))
            self._nested(part, "vg", name, ())
        for part in entry.entries("lvs", "lv"):
            name = part.name_given()
            extents = part.text("extents", "a number of extents, or a percentage such as 40%VG or 100%FREE", "")
            size = part.bytes("size")
            if size is None and not extents:
                part.refuse("size", f"{EXPECTED}; or the key extents")
            self.nodes.append(
                Logical(
                    name,
                    part.text("base", "the name of a vg"),
                    part.where,
                    size,
                    extents,
                    part.one_of("type", ("", "thin", "thin-pool"), ""),
                    part.text("thin-pool", "the name of a thin-pool lv", ""),
                    part.texts("options", "a list of options", ()),
                )
            )
            self._nested(part, "lv", name, ("mkfs", "luks") if self.version >= STRICT else ())

    def luks(self, entry: NodeEntry, base: str) -> None:
        name = entry.name(f"luks_{base}")
        file = entry.text("key-file", "a file with the passphrase", "")
        variable = entry.text("key-variable", "a variable with the passphrase", "")
        if bool(file) == bool(variable):
            entry.refuse("key-variable", "one of key-variable (a variable of the build's machine) and key-file")
        self.nodes.append(
            Luks(
                name,
                base,
                entry.where,
                entry.text("label", "a label", ""),
                entry.text("uuid", "a UUID", ""),
                file,
                variable,
                entry.text("cipher", "a cipher as cryptsetup names it", Luks.cipher),
                entry.one_of("pbkdf", ("argon2id", "argon2i", "pbkdf2"), Luks.pbkdf),
            )
        )
        self._nested(entry, "luks", name, ("mkfs", "lvm"))

    def verity(self, entry: NodeEntry, base: str) -> None:
        name = entry.name(f"verity_{base}")
        self.nodes.append(Verity(name, base, entry.where, entry.text("hash", "the partition for the hashes")))
        self._nested(entry, "verity", name, ())

    def make_fs(self, entry: NodeEntry, base: str) -> None:
        name = entry.name(f"mkfs_{base}")
        options = entry.data.get("opts")
        if options is not None and not isinstance(options, str | list):
            entry.refuse("opts", "options of mkfs in one text, separated by blanks")
        words = tuple(options.split()) if isinstance(options, str) else None
        if words is None and options:
            words = entry.texts("opts", "a list of options")
        if words and entry.data.get("type") == "swap" and not _PAGES.fullmatch(" ".join(words)):
            if self.version >= STRICT or words[0].startswith(("-p", "--pagesize")):
                entry.refuse("opts", "-p BYTES, a page size from 4096 to 65536, or nothing for swap")
            self._remark(entry, "opts", "its opts have no effect: mkswap is given none (as in diskimage-builder)")
            words = None
        subvolumes = self._subvolumes(entry) if "subvolumes" in entry.data else ()
        self.nodes.append(
            MakeFs(
                name,
                base,
                entry.where,
                entry.text("type", "a file system", ""),
                entry.text("label", "a label", ""),
                entry.text("uuid", "a UUID", ""),
                words,
                subvolumes,
            )
        )
        self._nested(entry, "mkfs", name, ("mount", "verity"))

    def _subvolumes(self, entry: NodeEntry) -> tuple[Subvolume, ...]:
        subvolumes = []
        for part in entry.entries("subvolumes", "subvolume"):
            path = part.text("path", "a folder of the tree, such as /home").strip("/")
            subvolumes.append(Subvolume(path, part.one_of("kind", ("rw", "ro", "default", "default-ro"), "rw")))
            self._nested(part, "subvolume", path, ())
        return tuple(subvolumes)

    def mount(self, entry: NodeEntry, base: str) -> None:
        name = entry.name(f"mount_{base}")
        self.nodes.append(Mount(name, base, entry.where, entry.text("mount_point", "an absolute path such as /boot")))
        self._nested(entry, "mount", name, ("fstab",))

    def fstab(self, entry: NodeEntry, base: str) -> None:
        number = "a number from 0 on"
        line = Fstab(
            entry.name(f"fstab_{base}"),
            base,
            entry.where,
            entry.text("options", "mount options in one text", "defaults"),
            entry.converted("dump-freq", number, _count, "0"),
            entry.converted("fsck-passno", number, _count, "2"),
        )
        self.nodes.append(line)
        self._nested(entry, "fstab", line.name, ())


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


_NODES: dict[str, Callable[[_Reader, NodeEntry, str], Any]] = {
    "local_loop": _Reader.disk,
    "partitioning": _Reader.table,
    "lvm": _Reader.lvm,
    "luks": _Reader.luks,
    "verity": _Reader.verity,
    "mkfs": _Reader.make_fs,
    "mount": _Reader.mount,
    "fstab": _Reader.fstab,
}
