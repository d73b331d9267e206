"""The checksum that VHDX, btrfs, XFS and ext4 share, of blocks of some KiB: without a loop over their bytes."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_SHORT = 64  # bytes; folding takes longer there than one byte after another


def _table() -> tuple[int, ...]:
    entries = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
        entries.append(number)
    return tuple(entries)


_CRC = _table()
_remainders: dict[int, tuple[int, ...]] = {}


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    if len(data) > _SHORT:
        data, value = _folded(data), 0
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _folded(data: bytes) -> bytes:
    """A few bytes whose checksum, begun with nothing, is that of ``data``.

    Data is a polynomial, its first bit that of the highest power. Its first part, times the remainder of a power of x
    in place of that power, can be added to the second: half as much, of the same remainder.
    """
    length = len(data)
    number = int.from_bytes(data, "little") ^ 0xFFFFFFFF
    while length > _SHORT:
        later = length // 2  # bytes of the second part
        bits = (length - later) * 8
        first = number & (1 << bits) - 1
        product = 0
        for bit in _remainder(later):
            product ^= first << bit
        # Both end with the power 0: the product has 31 bits more than the first part, and is to have whole bytes.
        number = product << 1 ^ number >> bits << bits + 32 - later * 8
        length += 4 - later
    return number.to_bytes(length, "little")


def _remainder(count: int) -> tuple[int, ...]:
    """The bits, reflected, of what x to the power of eight times ``count`` leaves."""
    if count not in _remainders:
        value = 0x80000000  # x to the power of 0
        for _ in range(count):
            value = value >> 8 ^ _CRC[value & 0xFF]
        _remainders[count] = tuple(bit for bit in range(32) if value >> bit & 1)
    return _remainders[count]
