"""Reports of many builds for machines: JSON of dib-ctr's own, and JUnit's XML as CI systems read it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from blockdev.core.errors import BuildError
from builder.fleet.image import ImageBuild
from builder.fleet.outcome import BUILT, FAILED, INTERRUPTED, Outcome
from builder.history import record
from builder.history.record import Changes
from builder.progress import event_channel
from builder.progress.host_events import read_event
from builder.progress.report import failure, stage_title

SLOWEST = 5
FORMAT = 1  # raise it when what the JSON report has changes its meaning
# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The report: totals, and of each image status, time, stages, outputs with digests, failure and log."""
    keys = [key for outcome in outcomes for key in outcome.ran]
    return {
        "format": FORMAT,
        "seconds": round(seconds, 3),
        "built": sum(outcome.status == BUILT for outcome in outcomes),
        "failed": sum(outcome.status == FAILED for outcome in outcomes),
        "stages_run": len(keys),
        "stages_from_cache": sum(outcome.hits for outcome in outcomes),
        "images": [_image(outcome) for outcome in outcomes],
    }


def _image(outcome: Outcome) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": outcome.image.name,
        "file": outcome.image.where,
        "status": outcome.status,
        "attempts": outcome.attempts,
        "started": _date(outcome.started) if outcome.started else None,
        "seconds": round(outcome.seconds, 3),
        "stages": len(outcome.stages),
        "hits": outcome.hits,
        "misses": outcome.misses,
        "waited_for_others": outcome.waits,
        "outputs": [output.__dict__ for output in outcome.outputs()] if outcome.status == BUILT else [],
        "log": outcome.log or None,
    }
    slowest = sorted(outcome.spans.values(), key=lambda span: -span.seconds)[:SLOWEST]
    entry["slowest"] = [{"what": span.title, "seconds": round(span.seconds, 3)} for span in slowest]
    if (change := changes(outcome)) is not None:
        entry["changes"] = str(change)
    if outcome.pushed:
        entry["pushed"] = outcome.pushed
    if outcome.status == FAILED:
        entry["failure"] = {"text": outcome.why()}
        if outcome.failure:
            entry["failure"] |= {"stage": stage_title(outcome.failure), "status": outcome.failure.status}
    return entry


def changes(outcome: Outcome) -> Changes | None:
    """What a build changed since the one before of its name; None where that is not known."""
    file = Path(outcome.record)
    build = record.load(file) if outcome.record else None
    previous = record.before(file, build) if build else None
    return record.compare(previous, build) if previous and build else None


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _clean(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)


def as_junit(outcomes: Sequence[Outcome], seconds: float) -> bytes:
    """JUnit's XML, an image a test case: the form that Jenkins, GitLab and GitHub's actions read."""
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(sum(outcome.status == FAILED for outcome in outcomes)),
        "errors": "0",
        "skipped": str(sum(outcome.status not in (BUILT, FAILED) for outcome in outcomes)),
        "time": f"{seconds:.3f}",
    }
    top = Xml.Element("testsuites", {"name": "dib-ctr", **counts})
    started = min((outcome.started for outcome in outcomes if outcome.started), default=0.0)
    suite = Xml.SubElement(top, "testsuite", {"name": "images", **counts, "timestamp": _date(started)[:19]})
    for outcome in outcomes:
        _case(suite, outcome)
    Xml.indent(top)
    return bytes(Xml.tostring(top, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: Xml.Element, outcome: Outcome) -> None:
    file = outcome.image.where.partition(":")[0]
    times = {"time": f"{outcome.seconds:.3f}"}
    case = Xml.SubElement(suite, "testcase", {"name": outcome.image.name, "classname": file or "images", **times})
    properties = Xml.SubElement(case, "properties")
    values = {"hits": str(outcome.hits), "misses": str(outcome.misses), "attempts": str(outcome.attempts)}
    values |= {"log": outcome.log} if outcome.log else {}
    values |= {"pushed": outcome.pushed} if outcome.pushed else {}
    if outcome.status == BUILT:
        values |= {f"digest {output.place}": output.digest for output in outcome.outputs()}
    for name, value in values.items():
        Xml.SubElement(properties, "property", {"name": _clean(name), "value": _clean(value)})
    if outcome.status == FAILED:
        title = stage_title(outcome.failure) if outcome.failure else "build"
        message = _clean(outcome.why().splitlines()[0])
        Xml.SubElement(case, "failure", {"message": message, "type": _clean(title)}).text = _clean(outcome.why())
    elif outcome.status != BUILT:
        Xml.SubElement(case, "skipped", {"message": outcome.status})
    if outcome.log:
        Xml.SubElement(case, "system-out").text = _clean(f"log: {outcome.log}")


def _listen(descriptor: int, outcome: Outcome) -> None:
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            outcome.heed(read_event(line))


def _name_by_output(outcome: Outcome) -> None:
    """An image without a name of its own is called as its first output is."""
    if not outcome.image.name:
        name = Path(outcome.places[0]).name.partition(".")[0] if outcome.places else " ".join(outcome.image.elements)
        outcome.image = replace(outcome.image, name=name)


@contextlib.contextmanager
def reported(image: ImageBuild, write: Callable[[Outcome, float], None]) -> Iterator[None]:
    """While this is held, what the build tells is gathered; ``write`` gets the outcome and seconds at its end."""
    outcome = Outcome(image, started=time.time())
    outcome.begin()
    read, end = os.pipe()
    listener = threading.Thread(target=_listen, args=(read, outcome), daemon=True)
    listener.start()
    before = os.environ.get(event_channel.VARIABLE)
    os.environ[event_channel.VARIABLE] = str(end)
    since = time.monotonic()
    outcome.status = FAILED
    try:
        yield
        outcome.status = BUILT
    except KeyboardInterrupt:
        outcome.status = INTERRUPTED
        raise
    except BuildError as error:
        outcome.lines.extend(f"error: {error}".splitlines())
        raise
    finally:
        os.environ.pop(event_channel.VARIABLE)
        if before is not None:
            os.environ[event_channel.VARIABLE] = before
        os.close(end)
        listener.join()
        outcome.seconds = time.monotonic() - since
        if outcome.failure:
            outcome.lines.extend(failure(outcome.failure, Path(outcome.log), ["dib-ctr", "shell"]).splitlines()[:-1])
        _name_by_output(outcome)
        write(outcome, outcome.seconds)
