"""The host's side of a build, fed with what a hostile build container could send.

Nothing but the offered files leaves, nothing but the asked outputs is fetched, no other error than BuildError is seen,
and each stream comes to an end.
"""

from __future__ import annotations

import base64
import json
import os
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from builder.build.boundary import PIECE, Boundary, Offered, offered
from builder.build.client import BuildContainer
from builder.build.run import BuildSession, FailedError
from builder.engines.protocol import Container, EngineError, OnLine
from builder.progress.report import Log, Plain
from builder.remote_cache.session import CacheSession
from stages.protocol import events
from stages.protocol.control import REFUSED
from stages.protocol.events import KINDS, Event, Note, parse
from stages.protocol.locking import Locking
from stages.protocol.request import Output, Request
from tests.examples import examples

KEY, OTHER = "a" * 64, "b" * 64
STORE = "/store"
SECRET = b"private-words"


def stage(number: int) -> dict[str, Any]:
    about = {"number": number, "phase": "root", "element": "os", "script": "10-os", "where": "outside"}
    return {**about, "key": KEY, "hit": False, "why": "never built"}


PLAN = {"type": "plan", "stages": [stage(1), stage(2)]}
OUTPUT = {
    "type": "output",
    "output": "tar",
    "index": 0,
    "key": KEY,
    "path": f"{STORE}/outputs/{KEY}",
    "changed": True,
    "digest": f"sha256:{KEY}",
    "image": "",
    "bytes": 5,
    "more": [],
}
JOB = {
    "chain": ["0123456789"],
    "epoch": 1,
    "described": {},
    "outputs": [{"index": 1, "key": KEY, "type": "raw", "options": {}, "have": "", "slim": "no"}],
}
ERROR = {"type": "error", "what": "no", "where": "", "hint": "", "status": 1, "trace": ""}
END = {"type": "end", "seconds": 1.0, "hits": 1, "misses": 1, "tree": KEY}
REQUEST = Request("build", outputs=(Output("tar"), Output("raw")))


class Engine:
    """An engine whose container prints these lines."""

    name, store = "podman", STORE

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.fetched: list[str] = []
        self.sent: list[str] = []

    def run(self, container: Container, request: bytes, on_line: OnLine) -> int:
        for line in self.lines:
            on_line(line, self.sent.append)
        return 0

    def fetch(self, container: Container, path: str) -> Iterator[bytes]:
        self.fetched.append(path)
        raise EngineError("podman", "nothing is there", "")

    def interactive(self, container: Container) -> int:
        raise AssertionError("a shell was opened")


class Host:
    """A host that asks a request of a container which prints these lines; what came of it."""

    def __init__(self, folder: Path, lines: list[str], request: Request = REQUEST, **more: Any) -> None:
        self.engine = Engine(lines)
        container = BuildContainer(cast("Any", self.engine), "debian", lambda _: None)
        with (folder / "log").open("w") as log, (folder / "out").open("w") as out:
            shown = Plain(out=out)
            self.session = BuildSession(container, shown, Log(folder / "log", log), ["dib-ctr"], **more)
            self.error = ""
            try:
                self.session.ask(request, b"")
            except (BuildError, FailedError) as error:
                self.error = str(error)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def said(*lines: dict[str, Any]) -> list[str]:
    return [json.dumps(line) for line in lines]


# -- one event at a time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        '{"type": "shell", "command": "id"}',
        '{"type": 5}',
        '{"type": null}',
        '{"type": ["note"]}',
        '{"type": "note"}',
        '{"type": "note", "text": 1}',
        '{"type": "note", "text": "x", "more": 1}',
        '{"type": "start", "number": "1"}',
        '{"type": "start", "number": true}',
        '{"type": "start", "number": -1}',
        '{"type": "done", "number": 1, "seconds": 1e999, "bytes": 1}',
        '{"type": "done", "number": 1, "seconds": NaN, "bytes": 1}',
        '{"type": "want", "path": "a\\nb", "offset": 0}',
        '{"type": "want", "path": "a", "offset": 1e3}',
        '{"type": "break", "session": "../../x", "number": 1, "point": "error"}',
        '{"type": "break", "session": "--engine", "number": 1, "point": "error"}',
        json.dumps({**OUTPUT, "output": "exe"}),
        json.dumps({**OUTPUT, "key": "../" + KEY[3:]}),
        json.dumps({**OUTPUT, "more": ["../x"]}),
        json.dumps({**OUTPUT, "more": [".."]}),
        json.dumps({"type": "note", "text": "x" * (1 << 18)}),
        json.dumps({"type": "plan", "stages": [{**stage(1), "script": "a/b"}]}),
        '{"type": "used", "used": ' + "[" * 60 + "]" * 60 + "}",
        json.dumps({"type": "used", "used": 10**100}),
    ],
)
def test_what_cannot_be_ends_the_build_with_a_sentence(tmp_path: Path, line: str) -> None:
    host = Host(tmp_path, [*said(PLAN), line])
    assert host.error.startswith("the build container sent")
    assert "\n  next:" in host.error
    assert len(host.error) < 1000


@pytest.mark.parametrize("line", ["", "hello", "[1, 2]", '{"a": 1}', "{", "[" * 100000, '{"type": "note", "text": "x"'])
def test_what_is_no_event_is_chatter(line: str) -> None:
    assert parse(line) is None


def test_half_characters_are_replaced() -> None:
    assert parse('{"type": "note", "text": "a\\ud800b"}') == Note(text="a\ufffdb")


# -- events beside their request ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "wild"),
    [
        (REQUEST, [{**OUTPUT, "index": 1}]),
        (REQUEST, [{**OUTPUT, "index": 2}]),
        (REQUEST, [OUTPUT, OUTPUT]),
        (REQUEST, [{**OUTPUT, "path": "/etc"}]),
        (REQUEST, [{**OUTPUT, "path": f"{STORE}/outputs/{OTHER}"}]),
        (REQUEST, [{**OUTPUT, "path": f"{STORE}/outputs/../outputs/{KEY}"}]),
        (REQUEST, [{**OUTPUT, "path": ""}]),
        (REQUEST, [{**OUTPUT, "changed": False}]),
        (REQUEST, [{**OUTPUT, "digest": ""}]),
        (REQUEST, [{**OUTPUT, "more": ["image1"]}]),
        (REQUEST, [{**OUTPUT, "output": "files", "path": f"{STORE}/outputs/{KEY}"}]),
        (REQUEST, [{"type": "assemble", "job": JOB}]),
        (REQUEST, [{"type": "break", "session": "1-1-aa", "number": 1, "point": "error"}]),
        (REQUEST, [{"type": "vendor", "path": f"{STORE}/outputs/vendor-{KEY[:32]}"}]),
        (REQUEST, [{"type": "used", "used": {}}]),
        (REQUEST, [{"type": "lookup", "keys": [KEY]}]),
        (REQUEST, [{"type": "share", "path": f"{STORE}/work/a/layer"}]),
        (REQUEST, [{"type": "start", "number": 3}]),
        (REQUEST, [{"type": "log", "number": 3, "text": ""}]),
        (REQUEST, [END, END]),
        (Request("build", caches={"read": "yes"}), [{"type": "share", "path": f"{STORE}/work/a/layer"}]),
        (Request("build", caches={"write": "min"}), [{"type": "share", "path": "/etc"}]),
        (Request("build", caches={"write": "min"}), [{"type": "share", "path": f"{STORE}/work/../layer"}]),
        (Request("build", locking=Locking(report=True)), [{"type": "used", "used": {"epoch": -1}}]),
        (Request("build", locking=Locking(vendor=True)), [{"type": "vendor", "path": f"{STORE}/outputs/vendor-../x"}]),
        (Request("build", locking=Locking(vendor=True)), [{"type": "vendor", "path": f"{STORE}/outputs/{KEY}"}]),
        (Request("shell"), [{"type": "result", "data": {"session": "../x"}}]),
        (Request("plan"), [{"type": "result", "data": {"stages": [{}]}}]),
    ],
)
def test_what_the_request_did_not_ask_for_ends_the_build(
    tmp_path: Path, request_: Request, wild: list[dict[str, Any]]
) -> None:
    host = Host(tmp_path, said(PLAN, *wild), request_)
    assert host.error.startswith("the build container sent")
    assert host.engine.fetched == []


def test_what_it_did_ask_for_passes(tmp_path: Path) -> None:
    asked_for: list[dict[str, Any]] = [
        PLAN,
        {"type": "start", "number": 1},
        {"type": "log", "number": 1, "text": "x"},
        OUTPUT,
        {**OUTPUT, "index": 1, "output": "raw"},
        END,
    ]
    host = Host(tmp_path, said(*asked_for))
    assert host.error == ""
    assert [output.path for output in host.session.outputs] == [OUTPUT["path"]] * 2


@pytest.mark.parametrize("wild", [[], [PLAN, OUTPUT], [PLAN, OUTPUT, END], [PLAN, END]])
@pytest.mark.parametrize("command", ["build", "plan", "shell", "cache"])
def test_an_answer_that_lacks_something_is_a_fault(tmp_path: Path, command: str, wild: list[dict[str, Any]]) -> None:
    host = Host(tmp_path, said(*wild), Request(command, outputs=REQUEST.outputs))
    assert host.error.startswith("the build container sent")


def assemble(job: dict[str, Any]) -> Event:
    event = parse(json.dumps({"type": "assemble", "job": job}))
    assert event is not None
    return event


DISK = {"text": "- local_loop: {name: image0}\n", "file": "x", "options": {}, "variables": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": []},
        {"outputs": [{**cast("Any", JOB["outputs"])[0], "index": 0}]},
        {"outputs": [{**cast("Any", JOB["outputs"])[0], "type": "qcow2"}]},
        {"outputs": [{**cast("Any", JOB["outputs"])[0], "options": {"a": "b"}}]},
        {"tree": f"{STORE}/outputs/tree-{KEY[:32]}/tree.tar", "environment": {}, "used": 1, "least": 1},
    ],
)
def test_the_disk_to_make_is_the_requests(change: dict[str, Any]) -> None:
    request = Request("build", outputs=REQUEST.outputs, disk=DISK)
    Boundary(request, STORE).check(assemble(JOB))
    with pytest.raises(BuildError, match="the build container sent"):
        Boundary(request, STORE).check(assemble({**JOB, **change}))


@pytest.mark.parametrize("tree", ["/etc/passwd", f"{STORE}/outputs/tree-a/../x", f"{STORE}/layers/tree-a/x", "/"])
def test_the_tree_of_a_privileged_disk_lies_among_outputs(tree: str) -> None:
    request = Request("build", outputs=REQUEST.outputs, disk={**DISK, "privileged": ["it wants LVM"]})
    more = {"environment": {}, "used": 1, "least": 1}
    right = {**JOB, "tree": f"{STORE}/outputs/tree-{KEY[:32]}/tree.tar", **more}
    Boundary(request, STORE).check(assemble(right))
    for job in ({**right, "tree": tree}, JOB):
        with pytest.raises(BuildError, match="the build container sent"):
            Boundary(request, STORE).check(assemble(job))


# -- files ----------------------------------------------------------------------------------------------------------


def wanted(files: Offered, name: str) -> bytes:
    found = b""
    while (line := files.piece(name, len(found))) not in ("", REFUSED):
        found += base64.b64decode(line)
    return found


def test_a_file_travels_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "file").write_bytes(data)
    files = Offered({"given/x": (tmp_path, "file")})
    assert len(data) > PIECE
    assert wanted(files, "given/x") == data
    assert "\n" not in files.piece("given/x", 5)


def make_link(folder: Path) -> None:
    (folder / "packages").mkdir()
    (folder / "packages/a.deb").symlink_to("../../secret")


def make_link_of_the_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere/a.deb").write_bytes(SECRET)
    (folder / "packages").symlink_to("../elsewhere")


def make_pipe(folder: Path) -> None:
    (folder / "packages").mkdir()
    os.mkfifo(folder / "packages/a.deb")


@pytest.mark.parametrize("make", [make_link, make_link_of_the_folder, make_pipe])
def test_links_beside_a_lock_lead_nowhere(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "lock").mkdir()
    make(tmp_path / "lock")
    request = Request("build", locking=Locking(offered={"packages/a.deb": KEY}))
    assert offered(request, tmp_path / "lock", {}).piece("packages/a.deb", 0) == REFUSED


NAMES = """packages/a.deb secret ../secret /etc/passwd packages/../../secret packages . packages/a.deb/ ./packages/a.deb
packages/link"""
PATHS = st.sampled_from([*NAMES.split(), "", f"given/{KEY}", f"given/{OTHER}", f"cache/sha256:{KEY}"])
WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | PATHS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
NUMBERS = st.integers(-2, 4) | st.integers()
PLACES = st.sampled_from([f"{STORE}/outputs/{KEY}", "/etc", f"{STORE}/outputs/{KEY}/..", f"{STORE}/work/a/layer", ""])
FIELDS = {
    "path": PATHS | PLACES,
    "offset": NUMBERS,
    "number": NUMBERS,
    "index": NUMBERS,
    "keys": st.lists(st.sampled_from([KEY, OTHER, "x"]), max_size=3),
    "key": st.sampled_from([KEY, OTHER]),
    "blobs": st.lists(st.sampled_from([f"sha256:{KEY}", "x"]), max_size=3),
    "blob": st.sampled_from([f"sha256:{KEY}", "x"]),
    "output": st.sampled_from(["tar", "raw", "files", "x"]),
    "changed": st.booleans(),
    "digest": st.sampled_from(["", f"sha256:{KEY}"]),
    "more": st.lists(st.sampled_from(["image1", "../x"]), max_size=2),
    "job": st.just(JOB) | WILD,
    "text": st.text(max_size=30),
    "point": st.sampled_from(["error", "before"]),
    "session": st.sampled_from(["1-1-aa", "../x"]),
    "stages": st.just(PLAN["stages"]) | WILD,
    "bytes": NUMBERS,
    "seconds": st.floats() | NUMBERS,
    "data": WILD,
}


@st.composite
def nearly(draw: st.DrawFn) -> dict[str, Any]:
    """An event that is nearly right: of a known kind, most fields of the right sort."""
    kind = draw(st.sampled_from(sorted({*KINDS} - {"bytecode", "compiled"})))
    event: dict[str, Any] = {"type": kind}
    for name in typing.get_type_hints(KINDS[kind]):
        if not hasattr(KINDS[kind], name):
            event[name] = draw(FIELDS.get(name, WILD) if draw(st.integers(0, 9)) else WILD)
        elif draw(st.booleans()):
            event[name] = draw(FIELDS.get(name, WILD))
    if not draw(st.integers(0, 9)):
        event[draw(st.text(max_size=5))] = draw(WILD)
    return event


LINES = st.one_of(
    st.sampled_from([PLAN, OUTPUT, END, ERROR]).map(json.dumps),
    st.builds(lambda path, offset: json.dumps({"type": "want", "path": path, "offset": offset}), PATHS, NUMBERS),
    nearly().map(json.dumps),
    st.dictionaries(st.just("type") | st.text(max_size=5), WILD, max_size=4).map(json.dumps),
    st.text(max_size=40),
)


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=12), caches=st.booleans(), locks=st.booleans())
def test_whatever_a_container_sends(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], *, caches: bool, locks: bool
) -> None:
    folder = tmp_path_factory.mktemp("host")
    offers = {"packages/a.deb": b"offered beside a lock", f"given/{KEY}": b"offered by digest"}
    (folder / "secret").write_bytes(SECRET)
    (folder / "lock/packages").mkdir(parents=True)
    (folder / "lock/packages/a.deb").write_bytes(offers["packages/a.deb"])
    (folder / "lock/packages/link").symlink_to("../../secret")
    (folder / "large").write_bytes(offers[f"given/{KEY}"])
    request = Request(
        "build",
        outputs=REQUEST.outputs,
        given={"/x": KEY},
        caches={"read": "yes", "write": "min"} if caches else {},
        locking=Locking(report=locks, vendor=locks, offered={"packages/a.deb": OTHER, "packages/link": OTHER}),
    )
    exchange = CacheSession([], [], lambda _: None) if caches else None
    more = {"beside": folder / "lock", "large": {KEY: folder / "large"}, "exchange": exchange}
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    host = Host(folder, [json.dumps(PLAN), *lines], request, **more)
    allowed = {"", REFUSED, "fetched", "[]"}
    for line in host.engine.sent:
        if line not in allowed and not line.startswith('{"offers": []'):
            data = base64.b64decode(line)
            assert any(data and content.endswith(data) for content in offers.values())
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in folder.iterdir()} <= {"secret", "lock", "large", "log", "out"}
    assert all(path.startswith(f"{STORE}/work/") for path in host.engine.fetched)
    assert set(map(type, host.session.outputs)) <= {events.Output}
