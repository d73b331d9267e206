"""What the page says, as values: times are in seconds, sizes in bytes, shares of a whole in percent.

All texts are as builds told them: not one is HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from builder.history.record import Build, Changes

SLOWEST = 8


@dataclass(frozen=True)
class Bar:
    """A line of a timeline: ``left`` and ``width`` in percent of the whole time; ``how`` as of ``fleet.outcome.Span``.

    ``note`` says more of it in a few words.
    """

    title: str
    how: str
    left: float
    width: float
    seconds: float
    bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A part of a map: its place and size in percent of the whole map's; ``shade`` is a number from 0 to 5."""

    name: str
    bytes: int
    left: float
    top: float
    width: float
    height: float
    shade: int
    detail: str = ""


@dataclass(frozen=True)
class Map:
    """Sizes as areas: what they are of (``package``, ``directory``), their sum, the cells, the largest first."""

    what: str
    total: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Part:
    """A part of a disk: its share of the drawing in percent (a small one is drawn larger than it is)."""

    name: str
    left: float
    width: float
    bytes: int
    holds: str
    free: bool = False


@dataclass(frozen=True)
class Disk:
    """A disk image: its format, its bytes, its parts, what boots it."""

    place: str
    format: str
    bytes: int
    table: str
    parts: tuple[Part, ...]
    boots: tuple[str, ...]


@dataclass(frozen=True)
class ImageOutput:
    """An output."""

    place: str
    type: str
    digest: str
    bytes: int
    changed: bool


@dataclass(frozen=True)
class Image:
    """One image on the page; ``anchor`` is its name within the page's addresses."""

    anchor: str
    name: str
    status: str
    seconds: float
    attempts: int
    started: str
    stages: int
    hits: int
    bars: tuple[Bar, ...]
    outputs: tuple[ImageOutput, ...]
    maps: tuple[Map, ...] = ()
    disks: tuple[Disk, ...] = ()
    build: Build | None = None
    previous: Build | None = None
    changes: Changes | None = None
    failure: str = ""
    log: str = ""
    pushed: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def slowest(self) -> tuple[Bar, ...]:
        """What took longest, at least a twentieth of a second."""
        took = [bar for bar in self.bars if bar.seconds >= 0.05]
        return tuple(sorted(took, key=lambda bar: -bar.seconds)[:SLOWEST])

    @cached_property
    def largest(self) -> tuple[Bar, ...]:
        """The largest layers that were made."""
        layers = [bar for bar in self.bars if bar.bytes and bar.how != "output"]
        return tuple(sorted(layers, key=lambda bar: -bar.bytes)[:SLOWEST])


@dataclass(frozen=True)
class Page:
    """The whole page; ``bars`` has a line for each image, where there are several."""

    title: str
    seconds: float
    version: str
    date: str
    images: tuple[Image, ...]
    bars: tuple[Bar, ...] = ()
