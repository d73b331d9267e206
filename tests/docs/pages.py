"""The pages: README, docs and the elements' READMEs; their order, their links, and the lines in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
ELEMENTS: Final = ROOT / "stages/elements"
INDEX: Final = "index.md"
WIDTH: Final = 120
README_LINES: Final = 120

_LINK: Final = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_FENCE: Final = re.compile(r"\s*```")
_TEXT: Final = re.compile(r"```(yaml|json|python|text)")


def pages() -> tuple[Path, ...]:
    """Every page that is held to the rules for prose."""
    return (*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(DOCS.glob("*.md")))


def title(page: Path) -> str:
    """The page's heading."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip()


@dataclass(frozen=True)
class Line:
    """A line of a page: where it is, its text, whether it is code, and of which language."""

    number: int
    text: str
    code: bool = False
    language: str = ""


def lines(text: str) -> Iterator[Line]:
    """The lines of a page, fences left out; a line that is indented by four blanks and follows a blank one is code."""
    fenced, indented, language, before = False, False, "", ""
    for number, each in enumerate(text.splitlines(), 1):
        if _FENCE.match(each):
            fenced = not fenced
            language = each.strip().strip("`") if fenced else ""
            before = ""
            continue
        is_deep = each.startswith("    ") and not re.match(r"\s*[-*] ", each)
        indented = (is_deep and (indented or not before.strip())) or (indented and not each.strip())
        yield Line(number, each, fenced or indented, language)
        before = each


def links(text: str) -> Iterator[tuple[int, str]]:
    """Links of a page that lead to a file or a heading here: the line's number, and the target."""
    prose = "\n".join("" if line.code else re.sub(r"`[^`]*`", "", line.text) for line in _all_lines(text))
    for match in _LINK.finditer(prose):
        if "://" not in match.group(1) and not match.group(1).startswith("mailto:"):
            yield prose.count("\n", 0, match.start()) + 1, match.group(1)


def _all_lines(text: str) -> list[Line]:
    known = {line.number: line for line in lines(text)}
    return [known.get(number, Line(number, "", code=True)) for number in range(1, len(text.splitlines()) + 1)]


def anchors(text: str) -> set[str]:
    """The names by which a page's headings are linked to."""
    found = (line.text for line in lines(text) if not line.code and re.match(r"#{1,6} ", line.text))
    return {re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-") for heading in found}


def dead_links(page: Path) -> Iterator[str]:
    """``PAGE:LINE: TARGET`` for each link to a file or heading that is not there."""
    for number, target in links(page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        is_dead = not file.exists() or (
            anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8"))
        )
        if is_dead:
            yield f"{page.name}:{number}: {target}"


def targets(page: Path) -> list[Path]:
    """The pages that a page links to, in order, each once."""
    found = (target.partition("#")[0] for _, target in links(page.read_text(encoding="utf-8")))
    files = ((page.parent / name).resolve() for name in found if name.endswith(".md"))
    return list(dict.fromkeys(file for file in files if file.is_file()))


def ordered() -> list[str]:
    """The names of the pages of docs/ in the order in which the index names them first."""
    return [page.name for page in targets(DOCS / INDEX) if page.parent == DOCS and page.name != INDEX]


def reached() -> set[Path]:
    """Every page to which links lead from the index."""
    found: set[Path] = set()
    waiting = [DOCS / INDEX]
    while waiting:
        page = waiting.pop()
        if page not in found:
            found.add(page)
            waiting += targets(page)
    return found


_SOURCE: Final = re.compile(r"`((?:tests|stages|builder|blockdev|qemu)/[\w./-]+)`")
_TASK: Final = re.compile(r"`(?:\./run )?just ([a-z][\w-]*)")
_TEST: Final = re.compile(r"\btest_\w+\.py\b")


def missing_sources(page: Path) -> Iterator[str]:
    """Files of the code, tests and tasks of the justfile that a page names, and that are not there."""
    text = page.read_text(encoding="utf-8")
    named = {*_SOURCE.findall(text), *re.findall(r"\btests/[\w/]+\.py\b", text)}
    yield from sorted(name for name in named if not (ROOT / name).exists())
    tests = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    yield from sorted(set(_TEST.findall(text)) - tests)
    tasks = set(re.findall(r"^([a-z][\w-]*)", (ROOT / "justfile").read_text(encoding="utf-8"), re.MULTILINE))
    yield from sorted(f"just {name}" for name in set(_TASK.findall(text)) - tasks)


def long_lines(page: Path) -> Iterator[str]:
    """``PAGE:LINE`` for each line of prose that is too long; rows of tables are not prose."""
    for line in lines(page.read_text(encoding="utf-8")):
        if len(line.text) > WIDTH and not line.code and not line.text.lstrip().startswith("|"):
            yield f"{page.name}:{line.number}"


def command_lines(page: Path) -> Iterator[tuple[int, str]]:
    """What the page tells to type: commands of dib-ctr in blocks of code, continued lines joined, and in `code`."""
    text = page.read_text(encoding="utf-8")
    gathered = ""
    for line in lines(text):
        if not line.code:
            for span in re.findall(r"`(dib-ctr [^`]+)`", line.text):
                yield line.number, span
            continue
        if _TEXT.match(f"```{line.language}"):
            continue
        gathered += line.text
        if gathered.endswith("\\"):
            gathered = gathered[:-1] + " "
            continue
        for match in re.finditer(r"(?:^|[\s;&|(\"'/]|\$\()(dib-ctr [^;&|)]*)", gathered):
            yield line.number, match.group(1)
        gathered = ""
