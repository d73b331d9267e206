"""Names and texts that come from an image, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with escapes for what is no letter that can be shown: control characters, bytes that are no UTF-8."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return ascii(letter)[1:-1]
