"""dm-verity's hash tree over a part of an image, in another part of it, without device-mapper.

veritysetup knows no offset of the data, so it would need a copy of them; and it hashes each hole block by block. The
tree is simple (kernel documentation, admin-guide/device-mapper/verity; cryptsetup's wiki, DMVerity), so it is made
here, byte for byte as ``veritysetup format`` with the same salt and UUID makes it: version 1, salt before the block.
:func:`check` lets veritysetup itself judge.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid5

from blockdev.core import tools
from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, copy_out, data, require_blank

BLOCK = 4096
ALGORITHMS = ("sha256", "sha384", "sha512", "sha1")  # which every kernel with dm-verity may have
_CHUNK = 1 << 20
_MAGIC = b"verity\0\0"
_NAMESPACE = UUID("7a4c7b3c-4cb7-5a0d-8a51-9c1f7a1f6f02")


def hash_size(length: int, block_size: int = BLOCK, algorithm: str = "sha256") -> int:
    """Bytes that superblock and hash tree over ``length`` bytes take; sizes of blocks in bytes."""
    return block_size * (1 + sum(_levels(length, block_size, algorithm)))


def format(  # noqa: A001 - as veritysetup calls it
    data: Region, hashes: Region, *, seed: str, block_size: int = BLOCK, algorithm: str = "sha256"
) -> str:
    """Write the hash tree over ``data`` into the blank ``hashes``; returns the root hash in hexadecimal.

    Salt and UUID are derived from ``seed``: the same bytes for the same data. Raises BuildError: no room, a region that
    is not blank, data that are no whole blocks (the rest would be covered by nothing), or an unknown algorithm.
    """
    _refuse(data, hashes, block_size, algorithm)
    require_blank(hashes)
    salt = uuid5(_NAMESPACE, f"{seed}/salt").bytes + uuid5(_NAMESPACE, f"{seed}/more").bytes
    salted = hashlib.new(algorithm, salt)
    reading = os.open(data.image, os.O_RDONLY | os.O_CLOEXEC)
    writing = os.open(hashes.image, os.O_RDWR | os.O_CLOEXEC)
    try:
        source, below, end = reading, data, hashes.offset + hash_size(data.length, block_size, algorithm)
        for blocks in _levels(data.length, block_size, algorithm):  # from the data up, which is from the end back
            level = Region(hashes.image, end - blocks * block_size, blocks * block_size)
            _hash_level(source, below, writing, level, salted, block_size)
            source, below, end = writing, level, level.offset
        root = _digest(salted, os.pread(source, block_size, below.offset))
        os.pwrite(writing, _superblock(data.length, block_size, algorithm, salt, seed), hashes.offset)
    finally:
        os.close(reading)
        os.close(writing)
    return root.hex()


def check(data: Region, hashes: Region, root: str) -> None:
    """Let veritysetup compare every block of ``data`` with the tree and its root hash; BuildError where one differs."""
    with tempfile.TemporaryDirectory(prefix=".verity-", dir=data.image.parent) as name:
        source = data.image
        if data.offset:
            source = Path(name) / "data"
            copy_out(data, source)
        tree = Path(name) / "hashes"
        copy_out(hashes, tree)
        command: tools.Arguments = ["veritysetup", "verify", source, tree, root]
        done = tools.run(command, env={**os.environ, "LC_ALL": "C.UTF-8"}, together=True)
    if done.status:
        reason = tools.last_line(done.out, "no reason")
        raise BuildError(f"the data are not those of the hash tree: {reason}", where=str(data))


def _levels(length: int, block_size: int, algorithm: str) -> list[int]:
    """How many hash blocks each level has, from the one over the data to the one of a single block.

    A tree over one block has no level: the root hash is the block's own.
    """
    per_block, blocks, levels = block_size // _stride(algorithm), -(-length // block_size), []
    while blocks > 1:
        blocks = -(-blocks // per_block)
        levels.append(blocks)
    return levels


def _stride(algorithm: str) -> int:
    """Bytes from one digest to the next: a power of two."""
    return 1 << (hashlib.new(algorithm).digest_size - 1).bit_length()


def _hash_level(
    source: int, below: Region, writing: int, level: Region, salted: hashlib._Hash, block_size: int
) -> None:
    """Write the digests of all blocks of ``below``; what is blank at the end of the level stays so."""
    stride = _stride(salted.name)
    blank = _digest(salted, bytes(block_size)).ljust(stride, b"\0")
    at = level.offset
    for offset, length, hole in _pieces(source, below, block_size):
        if hole:
            digests = blank * (length // block_size)
        else:
            piece = os.pread(source, length, offset).ljust(length, b"\0")
            blocks = (piece[start : start + block_size] for start in range(0, length, block_size))
            digests = b"".join(_digest(salted, block).ljust(stride, b"\0") for block in blocks)
        at += os.pwrite(writing, digests, at)


def _pieces(file: int, region: Region, block_size: int) -> Iterator[tuple[int, int, bool]]:
    """The region in order, in pieces of whole blocks: (byte of the file, bytes, is it a hole)."""
    at, end = region.offset, region.offset + region.length
    for start, stop in data(file, at, end):
        first = max(at, region.offset + (start - region.offset) // block_size * block_size)
        last = min(end, region.offset + -(-(stop - region.offset) // block_size) * block_size)
        yield from _cut(at, first, hole=True)
        yield from _cut(first, last, hole=False)
        at = max(at, last)
    yield from _cut(at, end, hole=True)


def _cut(start: int, stop: int, *, hole: bool) -> Iterator[tuple[int, int, bool]]:
    for offset in range(start, stop, _CHUNK):
        yield offset, min(_CHUNK, stop - offset), hole


def _digest(salted: hashlib._Hash, block: bytes) -> bytes:
    digest = salted.copy()
    digest.update(block)
    return digest.digest()


def _superblock(length: int, block_size: int, algorithm: str, salt: bytes, seed: str) -> bytes:
    identity = uuid5(_NAMESPACE, f"{seed}/uuid").bytes
    version = kind = 1
    fields = (_MAGIC, version, kind, identity, algorithm.encode(), block_size, block_size, length // block_size)
    return struct.pack("<8sII16s32sIIQH6x256s168x", *fields, len(salt), salt)


def _refuse(data: Region, hashes: Region, block_size: int, algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        hint = f"choose one of {', '.join(ALGORITHMS)}"
        raise BuildError(f"there is no hash {algorithm!r} for dm-verity", where=str(hashes), hint=hint)
    if block_size not in (512, 1024, 2048, 4096):
        hint = "choose 512, 1024, 2048 or 4096"
        raise BuildError(f"dm-verity has no blocks of {block_size} bytes", where=str(hashes), hint=hint)
    if not data.length or data.length % block_size:
        raise BuildError(
            f"what dm-verity shall cover has {data.length} bytes, which are no whole blocks of {block_size}",
            where=str(data),
            hint="align the partition to 1 MiB",
        )
    needed = hash_size(data.length, block_size, algorithm)
    if hashes.length < needed:
        raise BuildError(
            f"the hash tree takes {needed} bytes, and there is room for {hashes.length}",
            where=str(hashes),
            hint="make the partition for the hashes larger",
        )
