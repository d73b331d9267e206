"""How much of anything a build container may send: the last value that is taken, and the first that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import reader
from stages.protocol import events
from stages.protocol.events import KINDS, CacheEntry, DiskJob, DiskOutput, parse

MIB = 1 << 20
KEY, DIGEST = "a" * 64, "sha256:" + "a" * 64
LONG = {"plan", "assemble", "lookup", "fetch", "used", "result", "bytecode"}
FAILED = {"number": 0, "status": 1, "tail": [], "phase": "x", "element": "x", "script": "x"}
OUTPUT = {"output": "tar", "key": KEY, "path": "", "changed": True, "digest": "", "bytes": 0}
ENTRY = {"key": KEY, "below": "", "layer": "", "blob": DIGEST, "size": 1, "unpacked": 0, "parts": [], "title": "x"}
DISK = {"index": 0, "key": KEY, "type": "raw", "options": {}, "have": "", "slim": "no"}
JOB: dict[str, Any] = {"chain": [], "epoch": 0, "described": {}, "outputs": []}


def test_the_longest_lines() -> None:
    longest = {name: kind.longest for name, kind in KINDS.items()}
    assert longest == {
        **dict.fromkeys(KINDS, MIB),
        **dict.fromkeys(LONG, 48 * MIB),
        "failed": 100 * 65536 * 6,
        "error": 16 * MIB,
    }


def test_a_line_may_be_as_long_as_its_kind_says() -> None:
    line = json.dumps({"type": "note", "text": "x"})
    assert parse(line + " " * (MIB - len(line))) == events.Note(text="x")
    with pytest.raises(BuildError, match=r"an event of 1048577 bytes \(note\)"):
        parse(line + " " * (MIB + 1 - len(line)))


@pytest.mark.parametrize("line", ['{"a": 1}', "{", "{" + "[" * 100_000, "[]"])
def test_what_has_no_type_is_chatter(line: str) -> None:
    assert parse(line) is None


def test_an_unknown_kind_is_shown_up_to_its_60th_character() -> None:
    with pytest.raises(BuildError) as error:
        parse(json.dumps({"type": "x" * 100}))
    assert error.value.what.endswith("'" + "x" * 59)


def test_what_is_left_out() -> None:
    job = reader(DiskJob)(JOB)
    assert (job.used, job.least, job.tree, job.environment, job.lent) == (-1, -1, "", None, "")
    output = reader(events.Output)(OUTPUT)
    assert (output.index, output.image, output.more) == (-1, "", ())
    end = reader(events.End)({"seconds": 1, "hits": 0, "misses": 0, "tree": KEY})
    assert end.pruned == 0
    failed = reader(events.Failed)(FAILED)
    assert (failed.why, failed.hint) == ("", "")


ERROR = {"what": "", "where": "", "hint": "", "status": 1, "trace": ""}
PLACES: list[tuple[type, dict[str, Any], str, Any, Any]] = [
    (events.Failed, FAILED, "status", -255, -256),
    (events.Failed, FAILED, "status", 255, 256),
    (events.Failed, FAILED, "tail", ["x"] * 100, ["x"] * 101),
    (events.Failed, FAILED, "tail", ["x" * 65536], ["x" * 65537]),
    (events.Failed, FAILED, "why", "x" * (1 << 17), "x" * ((1 << 17) + 1)),
    (events.Failed, FAILED, "script", "x" * 255, "x" * 256),
    (events.Failed, FAILED, "number", 100_000, 100_001),
    (events.Error, ERROR, "status", 1, 0),
    (events.Error, ERROR, "status", 255, 256),
    (events.Error, ERROR, "trace", "x" * (1 << 19), "x" * ((1 << 19) + 1)),
    (events.Output, OUTPUT, "path", "/" + "x" * 4095, "/" + "x" * 4096),
    (events.Output, OUTPUT, "more", ["x" * 64], ["x" * 65]),
    (events.Output, OUTPUT, "more", ["x"] * 1000, ["x"] * 1001),
    (events.Share, {}, "path", "/" + "x" * 4095, "/" + "x" * 4096),
    (events.Want, {"offset": 0}, "path", "x" * 1024, "x" * 1025),
    (events.ShellResult, {}, "session", "a" * 64, "a" * 65),
    (events.Used, {}, "used", {"x": [None] * ((1 << 22) - 2)}, {"x": [None] * ((1 << 22) - 1)}),
    (events.Bytecode, {"data": ""}, "path", "x" * 255, "x" * 256),
    (events.Compiled, {}, "magic", "a" * 8, "a" * 9),
    (CacheEntry, {**ENTRY, "created": 1}, "size", 1, 0),
    (CacheEntry, {**ENTRY, "created": 1}, "below", "a" * 32, "a" * 33),
    (CacheEntry, {**ENTRY, "created": 1}, "layer", "a" * 10, "a" * 11),
    (CacheEntry, {**ENTRY, "created": 1}, "parts", ["tree"] * 7, ["tree"] * 8),
    (DiskOutput, DISK, "options", dict.fromkeys(map(str, range(100)), ""), dict.fromkeys(map(str, range(101)), "")),
    (DiskJob, JOB, "outputs", [DISK] * 1000, [DISK] * 1001),
    (DiskJob, JOB, "chain", ["a" * 10], ["a" * 11]),
    (DiskJob, JOB, "lent", "x" * 255, "x" * 256),
    (DiskJob, JOB, "environment", {"x" * 4096: ""}, {"x" * 4097: ""}),
    (DiskJob, JOB, "environment", {"x": "x" * (1 << 17)}, {"x": "x" * ((1 << 17) + 1)}),
    (
        DiskJob,
        JOB,
        "environment",
        dict.fromkeys(map(str, range(10_000)), ""),
        dict.fromkeys(map(str, range(10_001)), ""),
    ),
]


@pytest.mark.parametrize(
    ("of", "data", "name", "last", "first"), PLACES, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_last_that_is_taken_and_the_first_that_is_not(
    of: type, data: dict[str, Any], name: str, last: Any, first: Any
) -> None:
    assert reader(of)({**data, name: last})
    with pytest.raises(ValueError):
        reader(of)({**data, name: first})
