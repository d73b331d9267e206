"""Reading a Containerfile as far as its images and its sources go, and naming images in it by what they are now.

The format is Dockerfile's (docs.docker.com, "Dockerfile reference"), with here-documents. Libraries that read it
(dockerfile-parse) take the lines of a here-document for instructions, and know of no image but FROM's.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from blockdev.core.errors import UsageError

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*\Z", re.IGNORECASE)
_HERE = re.compile(r"<<(-?)([\"']?)([A-Za-z_]\w*)\2")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")
_SOURCE = re.compile(r"(?:^|\s)--from=(\S+)")
_MOUNT = re.compile(r"--mount=(\S+)")
SCRATCH = "scratch"
BUILD_PLATFORM = "BUILDPLATFORM"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals, its arguments in one line, and the lines (from 0) that it takes."""

    name: str
    text: str
    first: int
    last: int


@dataclass(frozen=True)
class StageImage:
    """An image that is taken in: its name, and the ``--platform`` it is wanted for ("" for the build's own)."""

    name: str
    platform: str = ""


@dataclass(frozen=True)
class Containerfile:
    """A Containerfile's text, and what is in it.

    ``images`` are those that come from elsewhere, in order; ``places`` has the line and the word of each.
    """

    text: str
    images: tuple[StageImage, ...] = ()
    sources: tuple[str, ...] | None = ()
    places: tuple[tuple[int, int, str, StageImage], ...] = field(default=(), repr=False)

    def pinned(self, names: Mapping[StageImage, str]) -> str:
        """The text with other names for its images."""
        lines = self.text.splitlines()
        for first, last, word, image in self.places:
            old = "\n".join(lines[first : last + 1])
            new = old.replace(word, names[image], 1)
            if old.split(maxsplit=1)[0].upper() == "FROM":
                new = re.sub(r"--platform=\S+\s+", "", new, count=1)
            lines[first : last + 1] = new.split("\n")
        return "\n".join(lines) + "\n"


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions, without comments, continued lines joined, here-documents left out."""
    lines = text.splitlines()
    escape = "\\"
    for line in lines:  # parser directives come before everything else
        if not line.lstrip().startswith("#"):
            break
        if directive := _ESCAPE.match(line.strip()):
            escape = directive[1]
    at = 0
    while at < len(lines):
        first, words = at, ""
        while at < len(lines):
            line = lines[at].strip()
            at += 1
            if line.startswith("#") or not line:
                if words:
                    continue  # a comment amid a continued instruction
                break
            words += line.removesuffix(escape)
            if not line.endswith(escape):
                break
        name, _, rest = words.strip().partition(" ")
        last = at - 1
        if name.upper() in ("RUN", "COPY", "ADD"):
            for _, _, word in _HERE.findall(rest):
                while at < len(lines) and lines[at].strip() != word:
                    at += 1
                at += 1
        if name:
            yield Instruction(name.upper(), rest.strip(), first, last)


def read(text: str, arguments: Mapping[str, str], base: str = "") -> Containerfile:
    """What is in a Containerfile, with the build's ``arguments`` (--build-arg).

    ``base`` stands for the image of the first FROM, where it is given.

    Raises UsageError where an image's name cannot be known, or there is no FROM.
    """
    values: dict[str, str] = {}
    stages: list[str] = []
    places: list[tuple[int, int, str, StageImage]] = []
    steps: list[Instruction] = list(instructions(text))
    froms = [each for each in steps if each.name == "FROM"]
    if not froms:
        raise UsageError("there is no FROM in this Containerfile", hint="begin it with FROM IMAGE")
    for each in steps:
        if each.name == "ARG" and not stages:
            for word in each.text.split():
                name, separator, default = word.partition("=")
                if separator or name in arguments:
                    values[name] = arguments.get(name, _filled(default.strip("\"'"), values))
        elif each.name == "FROM":
            flags, words = _flags(each.text)
            name = base if base and each is froms[0] else _filled(words[0], values)
            if name not in (SCRATCH, *stages):
                platform = flags.get("platform", "")
                places.append((each.first, each.last, words[0], StageImage(_sure(name, each), platform)))
            stages.append(words[2].lower() if len(words) > 2 and words[1].upper() == "AS" else str(len(stages)))
        else:
            for word in _taken(each):
                name = _filled(word, values)
                if name.lower() not in (*stages, SCRATCH) and not name.isdecimal():
                    places.append((each.first, each.last, word, StageImage(_sure(name, each))))
    images = tuple(dict.fromkeys(image for *_, image in places))
    return Containerfile(text, images, _sources(steps), tuple(places))


def _sure(name: str, where: Instruction) -> str:
    if "$" in name or not name:
        what = f"the image of line {where.first + 1} of the Containerfile cannot be known: {where.text}"
        raise UsageError(what, hint="give its variable a default (ARG before the first FROM), or --build-arg")
    return name


def _flags(text: str) -> tuple[dict[str, str], list[str]]:
    words = text.split()
    flags = [word for word in words if word.startswith("--")]
    pairs = (flag[2:].partition("=") for flag in flags)
    return {name: value for name, _, value in pairs}, [word for word in words if word not in flags] or [""]


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with the values of variables; those that are not known stay."""

    def value(match: re.Match[str]) -> str:
        name, how, other = match[1] or match[2], match[3] or "", match[4] or ""
        has = values.get(name, "") != "" if ":" in how else name in values
        if how.endswith("+"):
            return other if has else ""
        return values[name] if has and name in values else other if how else match[0]

    return _VARIABLE.sub(value, text)


def _taken(each: Instruction) -> Iterator[str]:
    """The images (or stages) that COPY --from and RUN --mount take something of."""
    if each.name in ("COPY", "ADD"):
        yield from _SOURCE.findall(each.text.partition("<<")[0])
    elif each.name == "RUN":
        for options in _MOUNT.findall(each.text):
            pairs = (option.partition("=") for option in options.split(","))
            yield from (value for name, _, value in pairs if name == "from")


def _sources(steps: list[Instruction]) -> tuple[str, ...] | None:
    """What of the context is taken: patterns of paths; None where that can be anything."""
    patterns: list[str] = []
    for each in steps:
        mounts = [options for options in _MOUNT.findall(each.text) if "from=" not in options]
        if each.name == "RUN" and any("type=bind" in options or "type=" not in options for options in mounts):
            return None
        if each.name not in ("COPY", "ADD") or _SOURCE.search(each.text.partition("<<")[0]):
            continue
        for word in _copied(each.text):
            path = word.removeprefix("./").strip("/")
            if "$" in word or path in ("", ".") or ".." in path.split("/"):
                return None
            patterns.append(path)
    return tuple(dict.fromkeys(patterns))


def _copied(text: str) -> list[str]:
    """The sources of COPY and ADD that are files of the context."""
    text = re.sub(r"^(\s*--\S+)+", "", text).strip()
    try:
        words = json.loads(text) if text.startswith("[") else shlex.split(text)
    except ValueError:
        return ["$"]  # nobody knows
    return [word for word in words[:-1] if not re.match(r"<<|https?://|git@", word)]
