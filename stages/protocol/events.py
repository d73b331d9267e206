"""Every kind of event (``stages.protocol.emit`` says what each means): its fields, their types and sizes.

The host reads each line of a build container with :func:`parse` before anything else looks at it. What an event says is
then of the right type and size, and still untrue where the container wants it to be: whether it fits the request,
``builder.build.boundary`` looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from blockdev.core.errors import BuildError
from stages.protocol.emit import LONGEST_LINE, LONGEST_TEXT, LONGEST_TRACE, MOST_TAIL, Event
from stages.protocol.readers import Reader, boolean, choice, integer, many, mapping, number, plain, record, text
from stages.protocol.request import DISK_TYPES, OUTPUT_TYPES

ORDINARY = 1 << 20  # bytes of a line
LONG = 48 << 20
MOST_STAGES = 100_000

_number = integer(0, MOST_STAGES)
_key = text(64, r"[0-9a-f]{64}")
_digest = text(71, r"sha256:[0-9a-f]{64}")
_maybe_digest = text(71, r"(?:sha256:[0-9a-f]{64})?")
_layer = text(10, r"(?:[0-9a-f]{10})?")
_below = text(32, r"(?:[0-9a-f]{32})?")
_line = text(LONGEST_LINE)
_said = text(LONGEST_TEXT)
_path = text(4096, r"/[^\0\n]*")
_name = text(255, r"[^\0\n/]+")
_disk = text(64, r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_nothing = text(0)

_STAGE = {
    "number": _number,
    "phase": _name,
    "element": _name,
    "script": _name,
    "where": choice("inside", "outside"),
    "key": _key,
    "hit": boolean,
    "why": _said,
}
STAGES = many(record(_STAGE), MOST_STAGES)
_ENTRY = {
    "key": _key,
    "below": _below,
    "layer": _layer,
    "blob": _digest,
    "size": integer(1),
    "unpacked": integer(),
    "parts": many(choice("tree", "cwd", "hooks", "outside", "output"), 5),
    "title": _line,
    "created": number,
}
PACKED = record(_ENTRY, {"content": _maybe_digest})
_JOB_OUTPUT = {
    "index": _number,
    "key": _key,
    "type": choice(*DISK_TYPES),
    "options": mapping(_name, _said, 100),
    "have": text(64, r"(?:[0-9a-f]{64})?"),
    "slim": _name,
}
_JOB = record(
    {
        "chain": many(text(10, r"[0-9a-f]{10}"), MOST_STAGES),
        "epoch": integer(),
        "described": plain(),
        "outputs": many(record(_JOB_OUTPUT), 1000),
    },
    {
        "tree": _path,
        "environment": mapping(text(4096, r"[^\0=]+"), text(1 << 17, r"[^\0]*"), 10_000),
        "used": integer(),
        "least": integer(),
        "lent": text(255, r"[A-Za-z0-9_-]*"),
    },
)


@dataclass(frozen=True)
class Kind:
    """One kind of event: the readers of its fields, those that may be missing, and the longest line in bytes."""

    fields: Mapping[str, Reader]
    optional: Mapping[str, Reader] = field(default_factory=dict)
    longest: int = ORDINARY


KINDS: Mapping[str, Kind] = {
    "plan": Kind({"stages": STAGES}, longest=LONG),
    "start": Kind({"number": _number}),
    "log": Kind({"number": _number, "text": _line}),
    "hit": Kind({"number": _number}, {"source": _line}),
    "done": Kind({"number": _number, "seconds": number, "bytes": integer()}),
    "wait": Kind({"number": _number}),
    "output": Kind(
        {
            "output": choice(*OUTPUT_TYPES, "files"),
            "key": _key,
            "path": text(4096, r"(?:/[^\0\n]*)?"),
            "changed": boolean,
            "digest": _maybe_digest,
            "bytes": integer(),
        },
        {"index": _number, "image": _maybe_digest, "more": many(_disk, 1000)},
    ),
    "assemble": Kind({"job": _JOB}, longest=LONG),
    "break": Kind(
        {
            "session": text(64, r"[0-9a-z]+(?:-[0-9a-z]+)*"),
            "number": _number,
            "point": choice("before", "after", "error"),
        }
    ),
    "failed": Kind(
        {
            "number": _number,
            "status": integer(-255, 255),
            "tail": many(_line, MOST_TAIL),
            "phase": _name,
            "element": _name,
            "script": _name,
        },
        {"why": _said, "hint": _said},
        longest=MOST_TAIL * LONGEST_LINE * 6,
    ),
    "error": Kind(
        {"what": _said, "where": _said, "hint": _said, "status": integer(1, 255), "trace": text(LONGEST_TRACE)},
        longest=16 * ORDINARY,
    ),
    "want": Kind({"path": text(1024, r"[^\0\n]+"), "offset": integer()}),
    "lookup": Kind({"keys": many(_key, MOST_STAGES)}, longest=LONG),
    "fetch": Kind({"blobs": many(_digest, MOST_STAGES)}, longest=LONG),
    "bad": Kind({"blob": _digest, "why": _line}),
    "packed": Kind({"path": _path, "entry": PACKED}),
    "share": Kind({"path": _path}),
    "shared": Kind({}),
    "written": Kind({}),
    "used": Kind({"used": plain(most=1 << 22)}, longest=LONG),
    "vendor": Kind({"path": _path}),
    "note": Kind({"text": _said}),
    "result": Kind({"data": plain()}, longest=LONG),
    "end": Kind({"seconds": number, "hits": integer(), "misses": integer(), "tree": _key}, {"pruned": integer()}),
    "bytecode": Kind({"path": text(255), "data": text(LONG, r"[A-Za-z0-9+/]*={0,2}")}, longest=LONG),
    "compiled": Kind({"magic": text(8, r"[0-9a-f]{8}")}),
}


def wrong(what: str) -> BuildError:
    """The error for an event that cannot be."""
    return BuildError(
        f"the build container sent {what}",
        where="build container",
        hint="it is broken, or something in the build means harm: what it has made was not taken",
    )


def parse(line: str) -> Event | None:
    """One line of a build container's standard output as an event, or None where it is none (chatter of an engine).

    Raises BuildError for an event of an unknown kind, or with other fields than those of its kind.
    """
    if not line.startswith("{"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or "type" not in data:
        return None
    name = data.pop("type")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise wrong(f"an event of an unknown kind: {ascii(name)[:60]}")
    if len(line) > kind.longest:
        raise wrong(f"an event of {len(line)} bytes ({name})")
    try:
        return {"type": name, **record(kind.fields, kind.optional)(data)}
    except ValueError as error:
        raise wrong(f"an event that cannot be ({name}): {error}") from None
