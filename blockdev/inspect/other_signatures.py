"""Headers of what lies below file systems, or is known by name only: LVM, verity, RAID, BitLocker, NTFS... Pure."""

from __future__ import annotations

import struct
import uuid

from blockdev.core.units import SECTOR
from blockdev.inspect.bytes_view import View, text
from blockdev.inspect.model import Content
from blockdev.lvm.layout import UUID_GROUPS

_NAMES = {b"NTFS    ": "ntfs", b"EXFAT   ": "exfat", b"-FVE-FS-": "bitlocker"}


def lvm(view: View) -> Content | None:
    """The label of an LVM2 physical volume, in one of the first four sectors; what it is part of is not read here."""
    for sector in range(4):
        raw = view.read(sector * SECTOR, SECTOR)
        if raw[:8] != b"LABELONE" or raw[24:32] != b"LVM2 001":
            continue
        (at,) = struct.unpack_from("<I", raw, 20)
        if at > SECTOR - 40:
            continue
        letters, groups, taken = text(raw[at : at + 32], "latin-1"), list[str](), 0
        for length in UUID_GROUPS:
            groups.append(letters[taken : taken + length])
            taken += length
        (size,) = struct.unpack_from("<Q", raw, at + 32)
        return Content(kind="lvm", uuid="-".join(groups), size=size)
    return None


def verity(view: View) -> Content | None:
    """dm-verity's superblock (cryptsetup's wiki, "DMVerity"); its root hash is not kept in it."""
    raw = view.read(0, 512)
    if raw[:8] != b"verity\0\0":
        return None
    version, kind = struct.unpack_from("<II", raw, 8)
    data, hashes, blocks, salt = struct.unpack_from("<IIQH", raw, 64)
    return Content(
        kind="verity",
        uuid=str(uuid.UUID(bytes=raw[16:32])),
        details={
            "version": version,
            "hash_type": kind,
            "algorithm": text(raw[32:64]),
            "data_block_size": data,
            "hash_block_size": hashes,
            "data_blocks": blocks,
            "salt": raw[88 : 88 + min(salt, 256)].hex(),
        },
    )


def raid(view: View) -> Content | None:
    """Linux' software RAID, versions 1.1 and 1.2, whose superblock is at or near the begin."""
    for offset in (0, 4096):
        raw = view.read(offset, 256)
        if raw[:8] == b"\xfc\x4e\x2b\xa9\x01\0\0\0":
            return Content(kind="raid", label=text(raw[32:64]), uuid=str(uuid.UUID(bytes=raw[16:32])))
    return None


def by_name(view: View) -> Content | None:
    """What is told by a name in its first sector and no more."""
    kind = _NAMES.get(view.read(3, 8))
    return Content(kind=kind) if kind else None


def f2fs(view: View) -> Content | None:
    """F2FS: its kind and id."""
    raw = view.read(1024, 256)
    if raw[:4] != b"\x10\x20\xf5\xf2":
        return None
    return Content(kind="f2fs", uuid=str(uuid.UUID(bytes=raw[108:124])))


def elf(view: View) -> Content | None:
    """A program without a file system around it, as a PReP partition has it."""
    return Content(kind="elf") if view.read(0, 4) == b"\x7fELF" else None
