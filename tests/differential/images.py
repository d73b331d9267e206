"""The lists of images that the command ``diskimage-builder`` reads, as the command lines that it makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from builder.frontends.dib.image_lists import ARCHITECTURES, TYPES, read
from tests.differential.area import Area
from tests.differential.ask import Program
from tests.differential.compare import ANYTHING, REFUSED, Answer, Example

_WORDS = st.sampled_from(["vm", "debian-minimal", "a b", "", "-n", "x,y", "ubuntu"])
_TEXT = st.sampled_from(["text", "two words", "", "a,b", "-x", "$HOME", "it's"])
_NUMBER = st.sampled_from([1, 5, 100, 274877906944])
_FLAG = st.booleans()
_ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "imagename": st.sampled_from(["one", "two", "three.qcow2", "dir/four"]),
        "arch": st.sampled_from(ARCHITECTURES),
        "types": st.lists(st.sampled_from(TYPES), max_size=3),
        "environment": st.dictionaries(st.sampled_from(["DIB_RELEASE", "X", "Y"]), _TEXT, max_size=2),
        "ramdisk": _FLAG,
        "debug-trace": st.sampled_from([0, 1, 2]),
        "uncompressed": _FLAG,
        "clear": _FLAG,
        "skip-base": _FLAG,
        "checksum": _FLAG,
        "no-tmpfs": _FLAG,
        "offline": _FLAG,
        "image-size": _NUMBER,
        "image-extra-size": _NUMBER,
        "max-online-resize": _NUMBER,
        "min-tmpfs": _NUMBER,
        "mkfs-journal-size": _NUMBER,
        "logfile": _TEXT,
        "image-cache": _TEXT,
        "mkfs-options": _TEXT,
        "root-label": _TEXT,
        "ramdisk-element": _TEXT,
        "docker-target": _TEXT,
        "install-type": st.sampled_from(["source", "package"]),
        "qemu-img-options": st.dictionaries(st.sampled_from(["size", "compat"]), _TEXT, max_size=2),
        "packages": st.lists(_WORDS, max_size=2),
        "elements": st.lists(_WORDS, max_size=3),
    },
)
# What is refused, or only looks odd: texts for numbers, numbers for texts, keys that nobody knows.
_ODD: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"image-size": 0},
        {"image-size": 2.0},
        {"image-size": 2.5},
        {"image-size": "5"},
        {"debug-trace": 3},
        {"debug-trace": 1.0},
        {"debug-trace": True},
        {"imagename": 5},
        {"arch": "mips"},
        {"types": ["vmdk"]},
        {"types": "qcow2"},
        {"environment": {"X": 1}},
        {"environment": {}},
        {"environment": None},
        {"checksum": "yes"},
        {"checksum": 1},
        {"elements": "vm"},
        {"elements": [1]},
        {"unknown": True},
        {"logfile": None},
        {"ramdisk": None},
    ]
)
_NO_LISTS = ["{}\n", "", "text\n", "- text\n", "- null\n"]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """One file or two, each a list of images."""
    files = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        entries: list[Any] = draw(st.lists(_ENTRY, max_size=3))
        if entries and draw(st.integers(0, 3)) == 0:
            entries[0] = {**entries[0], **draw(_ODD)}
        elif entries and draw(st.integers(0, 3)) == 0:  # an anchor, merged into another
            last, *others = entries
            text = "- &base\n" + _indented(last)
            for other in others:
                text += "- <<: *base\n" + _indented(other)
            files.append(text)
            continue
        files.append(draw(st.sampled_from([yaml.safe_dump(entries)] * 9 + _NO_LISTS)))
    return {"files": files}


def _indented(entry: Any) -> str:
    lines = yaml.safe_dump(entry, sort_keys=False).splitlines()
    return "".join(f"  {line}\n" for line in lines if line != "{}")


def both(example: Example, program: Program, folder: Path) -> tuple[Answer, Answer]:
    """What the two say."""
    files = []
    for index, text in enumerate(example["files"]):
        files.append(folder / f"images{index}.yaml")
        files[-1].write_text(text, encoding="utf-8")
    theirs = program.ask("images", files=[str(file) for file in files])
    try:
        found = read(files)
    except UsageError as error:
        return theirs, {"refused": str(error)}
    return theirs, {"images": [[one.command, list(one.arguments), dict(one.environment)] for one in found]}


def no_list(example: Example, theirs: Answer) -> Answer | None:
    """An empty map is no list."""
    return REFUSED if "{}\n" in example["files"] else None


def numbers_with_a_point(example: Example, theirs: Answer) -> Answer | None:
    """2.0 is a whole number to diskimage-builder's schema."""
    return REFUSED if any("size: 2.0" in text or "trace: 1.0" in text for text in example["files"]) else None


def same_list_again(example: Example, theirs: Answer) -> Answer | None:
    """An anchor's list that is appended to itself, twice or more often."""
    if "images" not in theirs or not any(text.count("<<: *base") > 1 for text in example["files"]):
        return None
    return {"images": [[command, ANYTHING, variables] for command, _, variables in theirs["images"]]}


REASONS = {
    "no-list": no_list,
    "same-list-again": same_list_again,
    "numbers-with-a-point": numbers_with_a_point,
}
AREA = Area("images", 10, examples(), both, REASONS)
