"""What the build container tells its host: a class for each kind of event, one JSON object a line on standard output.

The container writes ``emit(events.Hit(number=1))`` (``stages.protocol.emit``). The host reads each line with
:func:`parse` before anything else looks at it. What an event says is then of the right type and size, and still untrue
where the container wants it to be: whether it fits the request, ``builder.build.boundary`` looks.

A field is annotated with its type and with the reader that takes nothing else; one with a default may be missing. The
annotations are looked at where a kind is first met, and the classes are no dataclasses: both sides load all of them in
every build.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import (
    Struct,
    boolean,
    choice,
    integer,
    many,
    mapping,
    number,
    plain,
    plain_mapping,
    reader,
    text,
)
from stages.protocol.request import DISK_TYPES, OUTPUT_TYPES

ORDINARY = 1 << 20  # bytes of a line
LONG = 48 << 20
MOST_STAGES = 100_000
# Characters; what is longer is cut where it is emitted.
LONGEST_LINE = 1 << 16  # of a stage's output
LONGEST_TEXT = 1 << 17
LONGEST_TRACE = 1 << 19
MOST_TAIL = 100  # lines

LAYER_PARTS = ("tree", "cwd", "hooks", "outside", "mounts.d", "late-mounts.d")
Number = Annotated[int, integer(0, MOST_STAGES)]
Count = Annotated[int, integer()]
Seconds = Annotated[float, number]
Flag = Annotated[bool, boolean]
Key = Annotated[str, text(64, r"[0-9a-f]{64}")]
MaybeKey = Annotated[str, text(64, r"(?:[0-9a-f]{64})?")]
Digest = Annotated[str, text(71, r"sha256:[0-9a-f]{64}")]
MaybeDigest = Annotated[str, text(71, r"(?:sha256:[0-9a-f]{64})?")]
Line = Annotated[str, text(LONGEST_LINE)]
Text = Annotated[str, text(LONGEST_TEXT)]
StorePath = Annotated[str, text(4096, r"/[^\0\n]*")]
Name = Annotated[str, text(255, r"[^\0\n/]+")]
Session = Annotated[str, text(64, r"[0-9a-z]+(?:-[0-9a-z]+)*")]


class Event(Struct):
    """Something that a build tells; ``kind`` is its ``type`` in JSON, ``longest`` the most bytes of its line."""

    kind = ""
    longest = ORDINARY

    def __init_subclass__(cls, kind: str = "", longest: int = ORDINARY) -> None:
        cls.kind, cls.longest = kind, longest

    def as_json(self, **first: Any) -> str:
        """The event on one line, as it travels and as ``--progress json`` shows it; ``first`` goes before its type."""
        return json.dumps({**first, "type": self.kind, **vars(self)}, default=vars)


# -- values within events -------------------------------------------------------------------------------------------


class PlannedStage(Struct):
    """A stage of a plan: where its script runs, its key, whether its layer is there, and why not."""

    number: Number
    phase: Name
    element: Name
    script: Name
    where: Annotated[str, choice("inside", "outside")]
    key: Key
    hit: Flag
    why: Text


class CacheEntry(Struct):
    """A packed layer for caches elsewhere; the fields are those of ``builder.remote_cache.index.IndexEntry``."""

    key: Key
    below: Annotated[str, text(32, r"(?:[0-9a-f]{32})?")]
    layer: Annotated[str, text(10, r"(?:[0-9a-f]{10})?")]
    blob: Digest
    size: Annotated[int, integer(1)]
    unpacked: Count
    parts: Annotated[
        Sequence[str], many(choice("tree", "cwd", "hooks", "outside", "mounts.d", "late-mounts.d", "output"), 7)
    ]
    title: Line
    created: Seconds
    content: MaybeDigest = ""


class DiskOutput(Struct):
    """A disk image to make: its place in the request, its key, that of what lies at its destination, its policy."""

    index: Number
    key: Key
    type: Annotated[str, choice(*DISK_TYPES)]
    options: Annotated[Mapping[str, str], mapping(Name, Text, 100)]
    have: MaybeKey
    slim: Name


class DiskJob(Struct):
    """What the block-device stage needs to make disk images: the tree's layers, its date, what is known of it.

    A privileged one gets ``tree`` (a tar in the store), the scripts' ``environment`` and what their package tools are
    told of ``repositories`` (texts by the names of files), and the bytes that the tree has and that a file system for
    it must have. ``lent`` names what keeps all that in the store.
    """

    chain: Annotated[Sequence[str], many(text(10, r"[0-9a-f]{10}"), MOST_STAGES)]
    epoch: Count
    described: Annotated[Any, plain()]
    outputs: Annotated[Sequence[DiskOutput], many(DiskOutput, 1000)]
    tree: StorePath = ""
    environment: Annotated[
        Mapping[str, str] | None, mapping(text(4096, r"[^\0=]+"), text(1 << 17, r"[^\0]*"), 10_000)
    ] = None
    repositories: Annotated[
        Mapping[str, str], mapping(text(255, r"[A-Za-z0-9][A-Za-z0-9._:+@-]*"), text(1 << 20, r"[^\0]*"), 1000)
    ] = {}
    used: Count = -1
    least: Count = -1
    lent: Annotated[str, text(255, r"[A-Za-z0-9_-]*")] = ""


class PlanResult(Struct):
    """The answer of the command ``plan``."""

    stages: Annotated[Sequence[PlannedStage], many(PlannedStage, MOST_STAGES)]


class ShellResult(Struct):
    """The answer of the command ``shell``: the session that can be entered."""

    session: Session


# -- of stages ------------------------------------------------------------------------------------------------------


class OfStage(Event):
    """What happens to a stage, by its number in the plan."""

    number: Number


class Plan(Event, kind="plan", longest=LONG):
    """The build is planned (anew)."""

    stages: Annotated[Sequence[PlannedStage], many(PlannedStage, MOST_STAGES)]


class Start(OfStage, kind="start"):
    """A stage begins to run (it was a miss)."""


class Log(OfStage, kind="log"):
    """A line that the stage's script printed."""

    text: Line


class Hit(OfStage, kind="hit"):
    """A stage was found in the store, or in the cache of this name."""

    source: Line = ""


class Done(OfStage, kind="done"):
    """A stage ran and was kept; ``bytes`` are its layer's."""

    seconds: Seconds
    bytes: Count


class Wait(OfStage, kind="wait"):
    """Another build is running this stage; this one waits for it."""


class Break(OfStage, kind="break"):
    """The build stands before or after a stage, or at its error: it wants a shell, and waits for ``continue``."""

    session: Session
    point: Annotated[str, choice("before", "after", "error")]


class Failed(OfStage, kind="failed", longest=MOST_TAIL * LONGEST_LINE * 6):
    """A stage failed: its status and last lines; where these tell of a bad mirror ``why`` and ``hint``."""

    status: Annotated[int, integer(-255, 255)]
    tail: Annotated[Sequence[str], many(Line, MOST_TAIL)]
    phase: Name
    element: Name
    script: Name
    why: Text = ""
    hint: Text = ""


# -- of outputs -----------------------------------------------------------------------------------------------------


class Output(Event, kind="output"):
    """An output is there: its type ("files" is what scripts wrote beside the image), and its place in the request.

    ``path`` lies in the store. ``changed`` is False where the host has it already. ``image`` is the digest of the image
    in it, ``more`` names the further disks beside it.
    """

    output: Annotated[str, choice(*OUTPUT_TYPES, "files")]
    key: Key
    path: Annotated[str, text(4096, r"(?:/[^\0\n]*)?")]
    changed: Flag
    digest: MaybeDigest
    bytes: Count
    index: Number = -1
    image: MaybeDigest = ""
    more: Annotated[Sequence[str], many(text(64, r"[A-Za-z0-9_][A-Za-z0-9_.-]*"), 1000)] = ()


class Written(Event, kind="written"):
    """Every output was reported: a line of JSON answers, with the places of those that the host has now."""


class Assemble(Event, kind="assemble", longest=LONG):
    """Disk images are to be made (``stages.outputs.disk.job``)."""

    job: DiskJob


# -- of caches elsewhere, and of files that the host has --------------------------------------------------------------


class Want(Event, kind="want"):
    """The next piece is wanted of a file that the host offers (``stages.lock.replay``), or of a layer (``cache/``).

    A line in base64 answers, an empty one where the file ends, ``!`` where it is not to be had.
    """

    path: Annotated[str, text(1024, r"[^\0\n]+")]
    offset: Count


class Lookup(Event, kind="lookup", longest=LONG):
    """Which of these stages do the host's caches have.

    A line of JSON answers: ``offers`` (``stages.remote_cache.offers``) and ``held``, the [key, layer] that need not be
    sent to them.
    """

    keys: Annotated[Sequence[str], many(Key, MOST_STAGES)]


class Fetch(Event, kind="fetch", longest=LONG):
    """These layers will be wanted, in this order."""

    blobs: Annotated[Sequence[str], many(Digest, MOST_STAGES)]


class Bad(Event, kind="bad"):
    """This layer of a cache was refused; its stage runs."""

    blob: Digest
    why: Line


class Packed(Event, kind="packed"):
    """A folder in the store has one large layer for caches elsewhere."""

    path: StorePath
    entry: CacheEntry


class Share(Event, kind="share"):
    """A folder in the store has all other layers (``stages.remote_cache.exporter``)."""

    path: StorePath


class Shared(Event, kind="shared"):
    """That folder will go now: a line answers when it has been fetched."""


class Used(Event, kind="used", longest=LONG):
    """What the build used (``stages.protocol.lock_record``)."""

    used: Annotated[Mapping[str, Any], plain_mapping(most=1 << 22)]


class Vendor(Event, kind="vendor"):
    """A folder in the store has the lists and packages that the host does not hold."""

    path: StorePath


# -- of the build ---------------------------------------------------------------------------------------------------


class Note(Event, kind="note"):
    """Something worth a line."""

    text: Text


class Error(Event, kind="error", longest=16 * ORDINARY):
    """The build ends with an error: ``status`` is 1 or 2, ``trace`` is for ``--debug``."""

    what: Text
    where: Text
    hint: Text
    status: Annotated[int, integer(1, 255)]
    trace: Annotated[str, text(LONGEST_TRACE)]


class Result(Event, kind="result", longest=LONG):
    """The answer of a command that has one (plan, shell, assemble, cache, doctor)."""

    data: Annotated[Any, plain()]


class End(Event, kind="end"):
    """The build has succeeded; ``tree`` is the key of the finished tree, ``pruned`` the bytes that left the store."""

    seconds: Seconds
    hits: Count
    misses: Count
    tree: Key
    pruned: Count = 0


class Bytecode(Event, kind="bytecode", longest=LONG):
    """Bytecode that a new Python made (``stages.agent.bootstrap``), in base64."""

    path: Annotated[str, text(255)]
    data: Annotated[str, text(LONG, r"[A-Za-z0-9+/]*={0,2}")]


class Compiled(Event, kind="compiled"):
    """That was all bytecode, and it is for the Python with this number."""

    magic: Annotated[str, text(8, r"[0-9a-f]{8}")]


KINDS: Mapping[str, type[Event]] = {
    each.kind: each
    for each in (
        *(Plan, Start, Log, Hit, Done, Wait, Break, Failed, Output, Written, Assemble),
        *(Want, Lookup, Fetch, Bad, Packed, Share, Shared, Used, Vendor),
        *(Note, Error, Result, End, Bytecode, Compiled),
    )
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
        event: Event = reader(kind)(data)
    except ValueError as error:
        raise wrong(f"an event that cannot be ({name}): {error}") from None
    return event
