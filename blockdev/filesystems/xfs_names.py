"""Names for a prototype and for xfs_db, whose names are words: no white space, no quotes, no sign of their own.

Another name with the same length and the same hash can stand in a directory for one that is no word, and be replaced
by it afterwards, for a directory is ordered by hashes. That hash shifts by 7 bits from byte to byte: the lowest bit of
a byte and the highest of the next fall together, and turning both changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

_TRIALS = 1 << 16  # a name is of 255 bytes at most, and each turn makes one right
_NEVER = b' \t\n\r\v\f"/\0'


def is_word(text: bytes) -> bool:
    """Is it one token of a prototype, and one argument of xfs_db between quotes."""
    return bool(text) and not _first_wrong(text)


def _first_wrong(text: bytes) -> tuple[int, ...]:
    """Where there is the first byte that must become another one; nothing where there is none."""
    if text in (b"$", b".", b"..") or text[:1] == b":":
        return (0,)
    return next(((at,) for at, byte in enumerate(text) if byte in _NEVER), ())


def name_hash(name: bytes) -> int:
    """The hash by which XFS orders a directory (xfs_da_hashname)."""
    value = 0
    for byte in name:
        value = (value << 7 | value >> 25) & 0xFFFFFFFF ^ byte
    return value


def stand_in(name: bytes, taken: Collection[bytes]) -> bytes | None:
    """A word as long as the name and with its hash, that is not among the names taken; None where there is none."""
    seen, trial = {name}, [name]
    while trial and len(seen) < _TRIALS:
        text = trial.pop()
        wrong = _first_wrong(text)
        if not wrong and text not in taken:
            return text
        for at in (wrong[0] - 1, wrong[0]) if wrong else range(len(text) - 1):  # the last is tried first
            if 0 <= at < len(text) - 1:
                turned = text[:at] + bytes([text[at] ^ 1, text[at + 1] ^ 0x80]) + text[at + 2 :]
                if turned not in seen:
                    seen.add(turned)
                    trial.append(turned)
    return None


def same_length(text: bytes) -> bytes:
    """A word as long as the text, for where there is no hash."""
    word = bytes(ord("_") if byte in b' \t\n\r\v\f"\0' else byte for byte in text)
    return word if is_word(word.replace(b"/", b"_")) else b"_" + word[1:]
