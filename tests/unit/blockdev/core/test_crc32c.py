"""The checksum CRC-32C."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.crc32c import crc32c


def bit_by_bit(data: bytes) -> int:
    """The same as the standard defines it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
    ids=["nothing", "digits", "zeros", "ones", "counted"],
)
def test_of_known_texts(data: bytes, expected: int) -> None:
    """The values of RFC 3720, appendix B.4, and that of all catalogues."""
    assert crc32c(data) == expected


@pytest.mark.parametrize("content", ["zeros", "ones", "random"])
def test_of_any_length(content: str) -> None:
    """Short ones are counted byte by byte, longer ones folded: all on both sides of the bound, and blocks' lengths."""
    for length in (*range(140), 255, 256, 511, 4064, 4096, 16352):
        texts = {"zeros": bytes(length), "ones": b"\xff" * length, "random": random.Random(length).randbytes(length)}
        assert crc32c(texts[content]) == bit_by_bit(texts[content]), length


@given(st.binary(max_size=600))
def test_of_anything(data: bytes) -> None:
    assert crc32c(data) == bit_by_bit(data)
