"""What the page says of builds: from what they told, what is kept of them, and the outputs themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from blockdev.core.errors import BuildError
from builder.fleet.outcome import BUILT, FAILED, DeliveredOutput, Outcome, Span
from builder.history import record
from builder.html_report.page import Bar, Disk, Image, ImageOutput, Map, Page, Part
from stages.protocol.request import CONTAINER_TYPES, DISK_TYPES

LEAST = 0.3  # percent of a timeline, however short it took
LEAST_PART = 4.0  # percent of a disk's drawing
_FREE = "free"


def page(outcomes: Sequence[Outcome], seconds: float) -> Page:
    """The page of these builds, which took so long in all."""
    images = tuple(_image(number, outcome) for number, outcome in enumerate(outcomes))
    title = ", ".join(image.name for image in images) if len(images) <= 3 else f"{len(images)} images"
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    bars = _images(outcomes, seconds) if len(outcomes) > 1 else ()
    return Page(title, seconds, metadata.version("dib-ctr"), now, images, bars)


def _images(outcomes: Sequence[Outcome], seconds: float) -> tuple[Bar, ...]:
    """A line for each image in the whole time."""
    first = min((outcome.started for outcome in outcomes if outcome.started), default=0.0)
    whole = max(seconds, *(outcome.started - first + outcome.seconds for outcome in outcomes), 0.001)
    return tuple(
        Bar(
            outcome.image.name,
            outcome.status,
            _percent(max(outcome.started - first, 0.0), whole),
            _width(outcome.seconds, whole),
            outcome.seconds,
            note=f"{outcome.hits} of {len(outcome.stages)} stages from the cache" if outcome.stages else "",
        )
        for outcome in outcomes
    )


def _percent(part: float, whole: float) -> float:
    return round(min(100.0 * part / whole, 100.0), 3)


def _width(part: float, whole: float) -> float:
    return max(LEAST, _percent(part, whole))


def _image(number: int, outcome: Outcome) -> Image:
    build = record.load(Path(outcome.record)) if outcome.record else None
    previous = record.before(Path(outcome.record), build) if build else None
    outputs = outcome.outputs() if outcome.status == BUILT else []
    notes: list[str] = []
    return Image(
        anchor=f"image-{number + 1}",
        name=outcome.image.name,
        status=outcome.status,
        seconds=outcome.seconds,
        attempts=outcome.attempts,
        started=datetime.fromtimestamp(outcome.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        if outcome.started
        else "",
        stages=len(outcome.stages),
        hits=outcome.hits,
        bars=_bars(outcome),
        outputs=tuple(ImageOutput(each.place, each.type, each.digest, each.bytes, each.changed) for each in outputs),
        maps=_maps(outputs, build.arch if build else "", notes),
        disks=tuple(_disks(outputs, notes)),
        build=build,
        previous=previous,
        changes=record.compare(previous, build) if previous and build else None,
        failure=outcome.why() if outcome.status == FAILED else "",
        log=outcome.log,
        pushed=outcome.pushed,
        notes=tuple(notes),
    )


# -- the timeline ----------------------------------------------------------------------------------------------------


def _bars(outcome: Outcome) -> tuple[Bar, ...]:
    spans = list(outcome.spans.values())
    whole = max([outcome.seconds, *(span.end for span in spans), 0.001])
    return tuple(
        Bar(
            span.title,
            span.how,
            min(_percent(span.start, whole), 100.0 - LEAST),
            _width(span.seconds, whole),
            span.seconds,
            span.bytes,
            _note(span),
        )
        for span in spans
    )


def _note(span: Span) -> str:
    if span.source:
        return f"from {span.source}"
    return span.why


# -- what is in the outputs -------------------------------------------------------------------------------------------


def _maps(outputs: Sequence[DeliveredOutput], arch: str, notes: list[str]) -> tuple[Map, ...]:
    """Maps of the first output that is an image for containers."""
    path = next((Path(each.place) for each in outputs if each.type in CONTAINER_TYPES), None)
    if path is None:
        return ()
    from builder.html_report.treemap import treemap
    from builder.inspection.image import open_image
    from builder.inspection.size import measure

    try:
        size = measure(open_image(path, arch))
    except (BuildError, OSError) as error:
        notes.append(f"{path} could not be measured: {error}")
        return ()
    notes += size.notes
    maps = (treemap("package", size.packages), treemap("directory", size.directories))
    return tuple(each for each in maps if each.cells)


def _disks(outputs: Sequence[DeliveredOutput], notes: list[str]) -> Iterator[Disk]:
    for each in outputs:
        if each.type in DISK_TYPES:
            try:
                yield _disk(each)
            except (BuildError, OSError) as error:
                notes.append(f"{each.place} could not be looked at: {error}")


def _disk(output: DeliveredOutput) -> Disk:
    from blockdev.inspect.survey import inspect
    from builder.disk_view.inspection import cells, holding

    inspection = inspect(Path(output.place), None, lambda _: None)
    drawn = cells(inspection.places, inspection.size)
    regions = [region for region in inspection.places if region.partition]
    contents = {f"{each.partition.number} {each.content.kind}": each.content for each in regions if each.partition}
    lengths = [max(LEAST_PART, 100.0 * length / inspection.size) for _, length in drawn]
    parts, left = [], 0.0
    for (name, length), share in zip(drawn, lengths, strict=True):
        width = round(100.0 * share / sum(lengths), 3)
        content = contents.get(name)
        holds = holding(content) + (f", label {content.label}" if content.label else "") if content else ""
        parts.append(Part(name or _FREE, round(left, 3), width, length, holds, free=not name))
        left += width
    boots = [f"{way}: {details.why}" for way, details in inspection.boot.ways.items() if details.possible]
    return Disk(output.place, inspection.format, inspection.size, inspection.table.kind, tuple(parts), tuple(boots))
