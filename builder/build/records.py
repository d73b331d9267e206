"""What is kept of a build for ``dib-ctr history`` and its report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from builder.history import record
from builder.progress.event_channel import tell
from builder.progress.host_events import Recorded
from builder.request.prepared_build import PreparedBuild
from stages.protocol import events
from stages.redaction.redaction import Redaction


class SessionFacts(Protocol):
    """What a session knows beside what was asked for (``builder.build.run.BuildSession``)."""

    started: float
    again: Sequence[str]
    packages: Mapping[str, str]
    build_image: str
    redaction: Redaction


def keep(
    prepared: PreparedBuild,
    session: SessionFacts,
    outputs: Sequence[events.Output],
    end: events.End,
    places: Mapping[int, Path],
) -> None:
    """Keep a record of a build that succeeded; ``places`` has where outputs lie by their index.

    Where nothing can be kept the build is good all the same.
    """
    request, locks = prepared.request, prepared.locks
    written = tuple(
        record.BuiltOutput(
            type=each.output, place=str(places[each.index]), digest=each.digest, bytes=each.bytes, changed=each.changed
        )
        for each in outputs
        if each.index in places
    )
    mask = session.redaction.mask
    with contextlib.suppress(OSError):
        packages = session.packages or record.same_packages(request.name, {each.digest for each in written} - {""})
        build = record.Build(
            format=record.FORMAT,
            name=request.name,
            arch=request.arch,
            started=session.started,
            seconds=round(time.time() - session.started, 3),
            stages=end.hits + end.misses,
            hits=end.hits,
            asked=request.asked,
            elements=request.elements,
            release=mask(request.variables.get("DIB_RELEASE", "")),
            base=str(request.base.get("name", "")) if request.base else "",
            build_image=session.build_image,
            lock=str(locks.lock or locks.locked or ""),
            again=tuple(mask(word) for word in session.again),
            folder=str(Path.cwd()),
            outputs=written,
            packages=packages,
        )
        tell(Recorded(path=str(record.keep(build))))
