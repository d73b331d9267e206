"""FAT, made by mkfs.vfat at an offset and filled by mtools, folder by folder in sorted order.

FAT keeps names, contents and one time: every file gets the image's. Owners, modes and extended attributes have no place
in it and are lost; links, devices, and names that FAT or UEFI cannot have are refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.units import SECTOR
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace
from blockdev.tree.walk import WalkEntry, walk

_FORBIDDEN = frozenset('"*/:<>?\\|' + "".join(map(chr, range(32))) + "\x7f")
_LONGEST_NAME = 255  # UTF-16 units
_ROOT_SLOTS = 512
_AT_ONCE = 500
_MIB = 1 << 20
_LEAST_FAT32 = 512 * _MIB
_FEW = 4000
_CLUSTERS = {12: 4084, 16: 65524}  # the most that each width can number
_FAT32_CLUSTERS = ((260 * _MIB, 512), (8192 * _MIB, 4096), (16384 * _MIB, 8192), (32768 * _MIB, 16384))  # bytes
_LONGEST_LINE = 100_000


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make and fill the file system; returns its size in bytes."""
    entries = list(walk(source, without)) if source else []
    refuse_impossible(entries)
    serial = spec.volume_id.replace("-", "")
    # mkfs.vfat stamps a label with the present time (dosfstools 4.2), unless it is told to be invariant.
    command = ["mkfs.vfat", "--invariant", "-i", serial, *(["-n", spec.label] if spec.label else []), *spec.options]
    slots = sum(_slots(entry.name) for entry in entries if entry.name and b"/" not in entry.name) + 1
    if slots > _ROOT_SLOTS and "-r" not in spec.options:  # FAT12 and FAT16 fix the size of the root folder
        command += ["-r", str(-(-slots // 16) * 16)]
    region = work.region
    sector = _number_after(spec.options, "-S", SECTOR)
    if region.offset % sector:
        raise BuildError("a FAT file system must begin at a sector", where=str(region))
    command += geometry(region.length, sector, spec.options)
    work.run([*command, f"--offset={region.offset // sector}", work.image, str(region.length // 1024)])
    _fill(work, entries)
    return region.length // 1024 * 1024


def geometry(length: int, sector: int, options: Collection[str]) -> list[str]:
    """Options for width and cluster size, as mkfs.vfat chooses them for a device of ``length`` bytes.

    Left alone it would go by the size of the whole image.
    """
    words = list(options)
    cluster = max(1, 4 * SECTOR // sector)
    few = length // (cluster * sector) < (_FEW if cluster > 1 else _FEW + 200)
    width = _number_after(words, "-F", 12 if few else 16 if length < _LEAST_FAT32 else 32)
    if width == 16 and length // (cluster * sector) < 2 * _FEW:
        cluster = max(1, cluster // 2)  # well apart from where 12 bits would do
    if width == 32:
        cluster = next((size for most, size in _FAT32_CLUSTERS if length <= most), 32 << 10)
        cluster = max(1, cluster // sector)
    while width < 32 and length // (cluster * sector) > _CLUSTERS[width] and cluster < 128:
        cluster *= 2
    width_option = [] if "-F" in words else ["-F", str(width)]
    return width_option if "-s" in words else [*width_option, "-s", str(cluster)]


def _number_after(options: Collection[str], name: str, default: int) -> int:
    """The number that follows an option."""
    words = list(options)
    if name not in words[:-1] or not words[words.index(name) + 1].isdecimal():
        return default
    return int(words[words.index(name) + 1])


def refuse_impossible(entries: Collection[WalkEntry]) -> None:
    """BuildError for the first entry that FAT cannot keep."""
    taken: dict[str, WalkEntry] = {}
    for entry in entries:
        if entry.kind not in (stat.S_IFREG, stat.S_IFDIR):
            kind = "symbolic link" if entry.kind == stat.S_IFLNK else "special file"
            raise BuildError(f"FAT cannot keep a {kind}", where=os.fsdecode(entry.path), hint="leave it out or copy it")
        reason = _reason(entry.name.rpartition(b"/")[2]) if entry.name else ""
        if reason:
            raise BuildError(f"FAT cannot keep this name: {reason}", where=repr(os.fsdecode(entry.path)))
        folded = os.fsdecode(entry.name).upper()
        if other := taken.get(folded):
            raise BuildError(
                "FAT takes two names for one, as they differ in case only",
                where=f"{os.fsdecode(other.path)}, {os.fsdecode(entry.path)}",
            )
        taken[folded] = entry


def _slots(name: bytes) -> int:
    """How many entries of a folder a name may take: its short form, and one for 13 characters of its long form."""
    return 1 + -(-len(name) // 13)


def _reason(name: bytes) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    if bad := _FORBIDDEN.intersection(text):
        return f"it has {min(bad)!r} in it"
    if text.endswith((".", " ")) or text.startswith(" "):
        return "it begins or ends with a space, or ends with a dot"
    if len(text.encode("utf-16-le")) > 2 * _LONGEST_NAME:
        return f"it is longer than {_LONGEST_NAME} characters"
    return ""


def _image(work: Workplace) -> str:
    return f"{work.image}@@{work.region.offset}"


def _fill(work: Workplace, entries: list[WalkEntry]) -> None:
    folders = [entry for entry in entries if entry.kind == stat.S_IFDIR]
    for some in _in_pieces([_new_folder(entry.name) for entry in folders if entry.name]):
        work.run(["mmd", "-D", "s", "-i", _image(work), *some])
    inside: dict[bytes, list[bytes]] = {}
    for entry in entries:
        if entry.kind == stat.S_IFREG:
            folder, _, name = entry.name.rpartition(b"/")
            inside.setdefault(folder, []).append(b"./" + name)
    for entry in folders:
        for some in _in_pieces(inside.get(entry.name, [])):
            work.run(["mcopy", "-Q", "-i", _image(work), *some, b"::/" + _pattern(entry.name)], cwd=entry.path)


def _pattern(name: bytes) -> bytes:
    """mtools takes the path of a folder that is there for a pattern."""
    return name.replace(b"[", b"\\[").replace(b"]", b"\\]")


def _new_folder(name: bytes) -> bytes:
    """The path of a folder to make: its last name is a name."""
    folder, slash, last = name.rpartition(b"/")
    return b"::/" + _pattern(folder) + slash + last


def _in_pieces(words: list[bytes]) -> Iterator[list[bytes]]:
    """Lists short enough for a command line."""
    piece: list[bytes] = []
    length = 0
    for word in words:
        if len(piece) == _AT_ONCE or length > _LONGEST_LINE:
            yield piece
            piece, length = [], 0
        piece.append(word)
        length += len(word)
    if piece:
        yield piece


def check(work: Workplace) -> None:
    """fsck.vfat, reading only; it knows no offset, so it reads a copy that shares what it can."""
    work.run(["fsck.vfat", "-n", work.extracted()])
