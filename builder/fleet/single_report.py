"""Reports of one build that was asked for without an images file: the same ones, of what it tells on its way."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from blockdev.core.errors import BuildError
from builder.fleet.image import ImageBuild
from builder.fleet.outcome import BUILT, FAILED, INTERRUPTED, Outcome
from builder.progress import event_channel
from builder.progress.report import failure


def _listen(descriptor: int, outcome: Outcome) -> None:
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            outcome.heed(json.loads(line))


def _named(outcome: Outcome) -> None:
    """An image without a name of its own is called as its first output is."""
    if not outcome.image.name:
        name = Path(outcome.places[0]).name.partition(".")[0] if outcome.places else " ".join(outcome.image.elements)
        outcome.image = replace(outcome.image, name=name)


@contextlib.contextmanager
def reported(image: ImageBuild, write: Callable[[Outcome, float], None]) -> Iterator[None]:
    """While this is held, what the build tells is gathered; ``write`` gets the outcome and seconds at its end."""
    outcome = Outcome(image, attempts=1, started=time.time())
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
        _named(outcome)
        write(outcome, outcome.seconds)
