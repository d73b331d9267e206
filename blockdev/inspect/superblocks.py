"""The superblocks of XFS, Btrfs, swap, SquashFS, EROFS and ISO 9660. Pure."""

from __future__ import annotations

import struct
import uuid

from blockdev.inspect.bytes_view import View, text
from blockdev.inspect.model import Content

_BTRFS_PLACE = 64 << 10
_BTRFS_SUMS = {0: "crc32c", 1: "xxhash64", 2: "sha256", 3: "blake2b"}
_PAGES = (4096, 8192, 16384, 65536)
_SQUASHFS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_ISO_SECTOR = 2048


def xfs(view: View) -> Content | None:
    """XFS Algorithms & Data Structures, "Superblocks"."""
    raw = view.read(0, 512)
    if raw[:4] != b"XFSB":
        return None
    block, blocks = struct.unpack_from(">IQ", raw, 4)
    version, sector = struct.unpack_from(">HH", raw, 100)
    (free,) = struct.unpack_from(">Q", raw, 144)
    return Content(
        kind="xfs",
        label=text(raw[108:120]),
        uuid=str(uuid.UUID(bytes=raw[32:48])),
        size=blocks * block,
        free=free * block,
        details={"version": version & 0xF, "block_size": block, "sector_size": sector},
    )


def btrfs(view: View) -> Content | None:
    """Btrfs' on-disk format, "Superblock". A log that waits for the next mount makes it unclean."""
    raw = view.read(_BTRFS_PLACE, 4096)
    if raw[0x40:0x48] != b"_BHRfS_M":
        return None
    (log,) = struct.unpack_from("<Q", raw, 0x60)
    total, used, _, devices, sector, node = struct.unpack_from("<QQQQII", raw, 0x70)
    (summing,) = struct.unpack_from("<H", raw, 0xC4)
    return Content(
        kind="btrfs",
        label=text(raw[0x12B : 0x12B + 256]),
        uuid=str(uuid.UUID(bytes=raw[0x20:0x30])),
        size=total,
        free=max(0, total - used),
        clean=not log,
        details={
            "sector_size": sector,
            "node_size": node,
            "devices": devices,
            "checksum": _BTRFS_SUMS.get(summing, f"type {summing}"),
        },
    )


def swap(view: View) -> Content | None:
    """Linux' swap space; its mark is at the end of the first page, whatever that measures."""
    for page in _PAGES:
        mark = view.read(page - 10, 10)
        if mark not in (b"SWAPSPACE2", b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0"):
            continue
        raw = view.read(1024, 1024)
        version, last = struct.unpack_from("<II", raw)
        hibernated = mark != b"SWAPSPACE2"
        return Content(
            kind="swap",
            label=text(raw[28:44]),
            uuid=str(uuid.UUID(bytes=raw[12:28])),
            size=(last + 1) * page,
            details={"version": version, "page_size": page},
            remarks=("a hibernated system lies in this swap space",) if hibernated else (),
        )
    return None


def squashfs(view: View) -> Content | None:
    """SquashFS 4; it has neither label nor id."""
    raw = view.read(0, 96)
    if raw[:4] != b"hsqs":
        return None
    inodes, _, block = struct.unpack_from("<III", raw, 4)
    (packing,) = struct.unpack_from("<H", raw, 20)
    major, minor = struct.unpack_from("<HH", raw, 28)
    (used,) = struct.unpack_from("<Q", raw, 40)
    return Content(
        kind="squashfs",
        size=used,
        details={
            "version": f"{major}.{minor}",
            "block_size": block,
            "compression": _SQUASHFS.get(packing, f"type {packing}"),
            "inodes": inodes,
        },
    )


def erofs(view: View) -> Content | None:
    """EROFS (the kernel's fs/erofs/erofs_fs.h)."""
    raw = view.read(1024, 128)
    if raw[:4] != b"\xe2\xe1\xf5\xe0":
        return None
    bits = raw[12]
    if not 9 <= bits <= 16:
        return None
    (blocks,) = struct.unpack_from("<I", raw, 36)
    return Content(
        kind="erofs",
        label=text(raw[64:80]),
        uuid=str(uuid.UUID(bytes=raw[48:64])),
        size=blocks << bits,
        details={"block_size": 1 << bits, "inodes": struct.unpack_from("<Q", raw, 16)[0]},
    )


def iso9660(view: View) -> Content | None:
    """ECMA-119, 8.4; its id is its time of creation, as blkid has it."""
    raw = view.read(16 * _ISO_SECTOR, _ISO_SECTOR)
    if raw[:7] != b"\x01CD001\x01":
        return None
    (sectors,) = struct.unpack_from("<I", raw, 80)
    (block,) = struct.unpack_from("<H", raw, 128)
    created = raw[813:829].decode("ascii", errors="replace")
    dated = created.isdigit() and created.strip("0")
    parts = (created[:4], *(created[at : at + 2] for at in range(4, 16, 2)))
    second = view.read(17 * _ISO_SECTOR, 64)
    return Content(
        kind="iso9660",
        label=text(raw[40:72]),
        uuid="-".join(parts) if dated else "",
        size=sectors * block,
        details={"block_size": block, "el_torito": second[1:6] == b"CD001" and b"EL TORITO" in second},
    )
