"""Which elements an image has: graphs of ``element-deps`` and ``element-provides``, some on two folders of a path."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from stages.element.resolve import find_elements, resolve
from tests.differential.area import Area, write
from tests.differential.ask import Program
from tests.differential.compare import ANYTHING, UNFORETOLD, Answer, AtLeast, Example

SYSTEMS = ["debian", "fedora"]
PLAIN = ["a", "b", "c", "d", "e"]
VIRTUAL = ["kernel", "boot-loader", "operating-system"]
NAMES = [*SYSTEMS, *PLAIN, *VIRTUAL]


@st.composite
def lists(draw: st.DrawFn, names: list[str], most: int) -> str:
    """The text of ``element-deps`` or ``element-provides``."""
    chosen = draw(st.lists(st.sampled_from(names), max_size=most))
    ends = ["\n", "\n\n", " \n", "\t\n"]
    text = "".join(f"{draw(st.sampled_from(['', '', '', ' ']))}{name}{draw(st.sampled_from(ends))}" for name in chosen)
    return text.rstrip("\n") if draw(st.booleans()) else text


@st.composite
def folders(draw: st.DrawFn, unknown: bool) -> dict[str, dict[str, str]]:
    """One folder of elements; where nothing is ``unknown`` they need and provide what there is."""
    chosen = draw(st.lists(st.sampled_from([*PLAIN, "kernel"]), unique=True, min_size=2, max_size=6))
    names = [*draw(st.sampled_from([SYSTEMS[:1], SYSTEMS])), *chosen]
    made: dict[str, dict[str, str]] = {}
    for name in names:
        files: dict[str, str] = {}
        needs = draw(lists([*names, *VIRTUAL] if unknown else [*names, *VIRTUAL[2:]], 3))
        stands = draw(lists([*VIRTUAL[:2], *chosen], 1)) if draw(st.integers(0, 2)) == 0 else ""
        if name in SYSTEMS and draw(st.integers(0, 9)):
            stands += "\noperating-system\n"
        if (needs and name not in SYSTEMS) or unknown:
            files["element-deps"] = needs
        if stands:
            files["element-provides"] = stands
        made[name] = files
    return made


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Folders of a path, and the names that are asked for."""
    unknown = not draw(st.integers(0, 3))
    path = [draw(folders(unknown)) for _ in range(draw(st.sampled_from([1, 1, 2])))]
    known = sorted({name for folder in path for name in folder} - {*SYSTEMS})
    asked = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    asked += draw(st.sampled_from([*[["debian"]] * 6, [], ["fedora"], SYSTEMS, ["a"]]))
    return {"path": path, "asked": draw(st.permutations(asked)) if draw(st.booleans()) else asked}


def both(example: Example, program: Program, folder: Path) -> tuple[Answer, Answer]:
    """What the two say."""
    path = [folder / f"path{index}" for index in range(len(example["path"]))]
    for place, files in zip(path, example["path"], strict=True):
        write(place, files)
    theirs = program.ask("elements", path=[str(place) for place in path], asked=list(example["asked"]))
    try:
        found = resolve(example["asked"], find_elements(path))
    except UsageError as error:
        return theirs, {"refused": str(error)}
    names = {element.name: str(element.path) for element in found.elements}
    return _unnoted(theirs), {"elements": sorted(names), "folders": names, "noted": bool(found.notes)}


def _unnoted(theirs: Answer) -> Answer:
    """diskimage-builder says nothing of an element that it leaves out."""
    if "any" in theirs:
        return {"any": [_unnoted(answer) for answer in theirs["any"]]}
    return theirs if "refused" in theirs else {**theirs, "noted": False}


def _lines(example: Example, name: str, file: str) -> list[str]:
    """The names in a file of the element that counts."""
    files: dict[str, str] = next((folder[name] for folder in example["path"] if name in folder), {})
    return sorted({line.strip() for line in files.get(file, "").splitlines()} - {""})


def _reached(example: Example) -> set[str]:
    """All that is asked for or needed, whatever stands for it."""
    found: set[str] = set()
    pending = list(example["asked"])
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _lines(example, name, "element-deps")
    return found


def stands_for_itself(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder ends at an element that provides its own name."""
    own = [name for name in _reached(example) if name in _lines(example, name, "element-provides")]
    return UNFORETOLD if own and "refused" in theirs else None


def provider_reached_later(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder ends at a name that is needed before the element that provides it was reached."""
    known = {name for folder in example["path"] for name in folder}
    provided = {word for name in _reached(example) for word in _lines(example, name, "element-provides")}
    virtual = (_reached(example) - known) & provided
    return UNFORETOLD if "refused" in theirs and virtual else None


def left_out_there(example: Example, theirs: Answer) -> Answer | None:
    """An element that is provided by itself, or by one that is not in the image."""
    provided = {word for name in _reached(example) for word in _lines(example, name, "element-provides")}
    if "elements" not in theirs or not provided & _reached(example):
        return None
    return {"elements": AtLeast(theirs["elements"]), "folders": ANYTHING, "noted": True}


def provided_by_a_left_out_one(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder ends where what is asked for, or provided twice, is so by one that is replaced itself."""
    by: dict[str, set[str]] = {}
    for name in _reached(example):
        for word in _lines(example, name, "element-provides"):
            by.setdefault(word, set()).add(name)
    clash = any(names & by.keys() and (word in example["asked"] or len(names) > 1) for word, names in by.items())
    if "refused" not in theirs or not clash:
        return None
    return {"elements": AtLeast(example["asked"]), "folders": ANYTHING, "noted": ANYTHING}


def asked_for_twice(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder ends at an element that provides something and is asked for twice."""
    asked = example["asked"]
    twice = [name for name in set(asked) if asked.count(name) > 1 and _lines(example, name, "element-provides")]
    return UNFORETOLD if twice and "refused" in theirs else None


REASONS = {
    "stands-for-itself": stands_for_itself,
    "provider-reached-later": provider_reached_later,
    "left-out-there": left_out_there,
    "provided-by-a-left-out-one": provided_by_a_left_out_one,
    "asked-for-twice": asked_for_twice,
}
AREA = Area("elements", 30, examples(), both, REASONS)
