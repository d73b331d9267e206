"""The names that images get: refused before a build, not by the tool that writes or loads the image after it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from blockdev.core.errors import UsageError
from stages.protocol.request import Output

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_HINT = "a tag such as v1.0, or NAME:TAG, HOST/NAME:TAG with letters, digits and single . _ - between them"


def check(outputs: Iterable[Output], name: str, *, load: bool) -> None:
    """UsageError for an option ``tag`` that names no image, and for an image's ``name`` that an engine does not take.

    ``load`` tells whether the image goes to the engine under that name.
    """
    for output in outputs:
        if "tag" in output.options and not is_image_name(output.options["tag"]):
            raise UsageError(f"{output.options['tag']!r} cannot be the tag of the output {output.type}", hint=_HINT)
        load = load or output.type == "docker-archive"
    if load:
        from stages.outputs.formats.archives import reference  # only now: it takes its time to load

        reference(name)


def is_image_name(text: str) -> bool:
    """Is it a tag, or a name of an image with or without a host and a tag, in letters of any case."""
    if "/" not in text and ":" not in text:
        return bool(_TAG.match(text))
    from stages.outputs.formats.archives import reference

    try:
        reference(text)
    except UsageError:
        return False
    return not text.endswith(":")
