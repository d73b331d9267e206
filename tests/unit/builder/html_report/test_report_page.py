"""The page of a build: what it tells, and that nothing in it is anything but text."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from builder.fleet.image import ImageBuild
from builder.fleet.outcome import BUILT, FAILED, Outcome
from builder.history import record
from builder.history.record import Build, BuiltOutput
from builder.html_report.gather import page
from builder.html_report.page import Page
from builder.html_report.render import html, seconds, signed
from builder.html_report.treemap import MOST, treemap
from builder.inspection.size import Share
from builder.progress.host_events import Recorded
from stages.protocol import events

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg></style><h1>",
    "{{ 7 * 7 }}{% raw %}",
    "' onload='x",
    "\x1b]0;title\x07\u202e",
    "&amp;<",
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """The elements of a page, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def tags(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in names]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def stage(number: int, script: str, *, hit: bool = False, why: str = "") -> events.PlannedStage:
    fields = {"phase": "install", "element": "e", "script": script, "where": "inside", "key": f"{number:064x}"}
    return events.PlannedStage(number=number, hit=hit, why=why, **fields)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def outcome(name: str = "base", words: str = "", status: str = BUILT) -> Outcome:
    """A build of five stages, each another way, whose texts have ``words`` in them."""
    clock = Clock()
    build_outcome = Outcome(ImageBuild(name + words, "base", ""), clock=clock, started=1e9)
    build_outcome.begin()
    build_outcome.status, build_outcome.seconds = status, 20.0
    texts = ["10-hit", "20-fetched", "30-waited", "40-ran" + words.replace("/", ""), "50-failed"]
    stages = [stage(at + 1, text, hit=at == 0, why="" if at == 0 else f"new{words}") for at, text in enumerate(texts)]
    build_outcome.heed(events.Plan(stages=stages))
    for at, event in (
        (1.0, events.Hit(number=1)),
        (2.0, events.Hit(number=2, source=f"cache{words}")),
        (3.0, events.Wait(number=3)),
        (5.0, events.Hit(number=3)),
        (5.0, events.Start(number=4)),
        (6.0, events.Log(number=4, text=words)),
        (12.0, events.Done(number=4, seconds=7.0, bytes=5_000_000)),
    ):
        clock.now = at
        build_outcome.heed(event)
    if status == FAILED:
        build_outcome.heed(events.Start(number=5))
        build_outcome.heed(events.Failed(number=5, status=1, tail=[words], phase="a", element="e", script="50-failed"))
        build_outcome.lines.append(f"error: it broke {words}")
    build_outcome.places = [f"/out/base{words}.tar"]
    built = Build(
        format=record.FORMAT,
        name=name,
        arch="amd64",
        started=1e9,
        seconds=20.0,
        stages=5,
        hits=3,
        asked=("debian-minimal" + words,),
        elements=("dpkg" + words,),
        release=f"trixie{words}",
        lock=f"/l{words}",
        again=("dib-ctr", "build", "debian-minimal" + words),
        folder="/home/a b",
        outputs=(BuiltOutput(type="tar", place="/out/base.tar", digest=f"sha256:{len(words)}", bytes=2000),),
        packages={f"curl{words}": "8" + words},
    )
    build_outcome.heed(Recorded(path=str(record.keep(built))))
    return build_outcome


def read(outcomes: Iterable[Outcome]) -> tuple[Page, str, Reader]:
    page_values = page(list(outcomes), 20.0)
    text = html(page_values)
    return page_values, text, Reader(text)


def test_a_stage_is_told_with_what_became_of_it() -> None:
    page_values, text, _ = read([outcome()])
    bars = {bar.title: bar for bar in page_values.images[0].bars}
    assert {title.rpartition("/")[2]: bar.how for title, bar in bars.items()} == {
        "10-hit": "hit",
        "20-fetched": "fetched",
        "30-waited": "waited",
        "40-ran": "ran",
    }
    assert (bars["install/e/40-ran"].seconds, bars["install/e/40-ran"].bytes) == (7.0, 5_000_000)
    assert (bars["install/e/40-ran"].left, bars["install/e/40-ran"].width) == (25.0, 35.0)
    assert bars["install/e/30-waited"].seconds == 2.0
    assert page_values.images[0].slowest[0].title == "install/e/40-ran"
    for words in ("ran: new", "fetched: from cache", "another build ran it", "trixie", "debian-minimal"):
        assert words in text


def test_what_changed_is_told_against_the_build_before() -> None:
    outcome()
    _, text, _ = read([outcome(words="2")])
    assert "Another digest, 0 B in size" in text
    assert "2 packages differ: 1 added, 1 removed, 0 changed" in text


def test_a_failure_is_told_in_its_words() -> None:
    page_values, text, _ = read([outcome(status=FAILED)])
    assert page_values.images[0].bars[-1].how == "failed"
    assert "Why it failed" in text
    assert "error: it broke" in text


def test_many_images_stand_on_one_page() -> None:
    page_values, text, parsed = read([outcome("one"), outcome("two", status=FAILED)])
    assert [bar.title for bar in page_values.bars] == ["one", "two"]
    assert "2 images" not in page_values.title
    assert [attributes["href"] for attributes in parsed.tags("a")] == ["#image-1", "#image-2"]
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert text.count("<h1>") == 1


@pytest.mark.parametrize("words", HOSTILE)
def test_names_are_text_whatever_is_in_them(words: str) -> None:
    plain = read([outcome()])[2]
    _, text, parsed = read([outcome(words=words)])
    allowed = {tag for tag, _ in plain.elements} | {"details", "summary"}
    assert {tag for tag, _ in parsed.elements} <= allowed
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "49" not in " ".join(parsed.texts)


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    _, text, parsed = read([outcome(), outcome(status=FAILED)])
    assert not parsed.tags("script", "link", "img", "iframe", "object", "embed", "form", "base")
    assert not [
        name for _, attributes in parsed.elements for name in attributes if name in ("src", "style", "xlink:href")
    ]
    policy = next(each["content"] for each in parsed.tags("meta") if "http-equiv" in each)
    styles = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert styles is not None
    digest = base64.b64encode(hashlib.sha256(styles[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in styles[1]
    assert "@import" not in styles[1]


def test_the_page_is_for_everybody() -> None:
    _, _, parsed = read([outcome(), outcome(status=FAILED)])
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(parsed.tags("caption")) == len(parsed.tags("table"))
    assert parsed.tags("html")[0]["lang"] == "en"
    ids = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    for drawing in parsed.tags("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing.get("aria-labelledby") in ids or "x" in drawing
    for section in parsed.tags("section"):
        assert section["aria-labelledby"] in ids


def test_areas_are_as_large_as_what_they_stand_for() -> None:
    areas = treemap("package", [Share("a", 600, 1), Share("b", 300, 1), Share("c", 100, 1), Share("empty", 0, 1)])
    assert areas.total == 1000
    assert [cell.name for cell in areas.cells] == ["a", "b", "c"]
    for cell in areas.cells:
        assert cell.width * cell.height / 100 == pytest.approx(cell.bytes / 10)
        assert cell.left >= -1e-6 and cell.left + cell.width <= 100 + 1e-6
        assert cell.top >= -1e-6 and cell.top + cell.height <= 100 + 1e-6


def test_small_parts_are_put_together() -> None:
    areas = treemap("package", [Share(f"p{number}", 1000 - number, 1) for number in range(100)])
    assert len(areas.cells) == MOST + 1
    assert sum(cell.bytes for cell in areas.cells) == areas.total


def test_nothing_has_no_map() -> None:
    assert treemap("package", []).cells == ()


@pytest.mark.parametrize(
    ("count", "said"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3599.6, "1 h 00 min"), (7260, "2 h 01 min")],
)
def test_times(count: float, said: str) -> None:
    assert seconds(count) == said


def test_differences_have_a_sign() -> None:
    assert [signed(count) for count in (1500, -1500, 0)] == ["+1.5 kB", "-1.5 kB", "0 B"]
