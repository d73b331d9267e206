"""Sizes as a configuration writes them: bytes in units, percentages, the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {
    "": 1,
    "B": 1,
    **{unit: 1000**power for power, letter in enumerate("KMGT", 1) for unit in (letter, f"{letter}B")},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_SIZE = re.compile(r"([0-9.]*) ?([A-Za-z]*)\Z")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?%\Z")
EXPECTED = f"a number with one of the units {', '.join(unit for unit in _UNITS if unit)}, for example 512MiB"


@dataclass(frozen=True)
class Size:
    """``bytes``, or ``percent`` (0 to 100) of the space that the place of use says; ``rest`` is all that is left."""

    bytes: int | None = None
    percent: float | None = None
    rest: bool = False

    def of(self, space: int) -> int:
        """How many bytes this is where ``space`` bytes are to be shared, rounded down."""
        if self.bytes is not None:
            return self.bytes
        return int(space * (self.percent or 0) / 100)


def parse_bytes(text: str) -> int:
    """Bytes of an absolute size; a unit alone is one of it, a fraction of a byte is dropped. ValueError else."""
    match = _SIZE.match(text.strip())
    if not match or match[2] not in _UNITS or not text.strip():
        raise ValueError(text)
    return int(float(match[1] or "1") * _UNITS[match[2]])


def parse_size(text: str) -> Size:
    """An absolute size, ``N%``, or ``rest`` (all that is left). ValueError else."""
    if text.strip() == "rest":
        return Size(percent=100.0, rest=True)
    match = _PERCENT.match(text.strip())
    if match:
        if float(match[1]) > 100:
            raise ValueError(text)
        return Size(percent=float(match[1]))
    return Size(bytes=parse_bytes(text))


def shown(size: int) -> str:
    """Bytes as people read them: ``512 MiB``, ``1.5 GiB``, ``700 bytes``."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            value = size / 1024**power
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size} bytes"
