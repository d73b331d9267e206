"""What is kept of each build that succeeded: when, from what, how long, what came of it; and how two differ.

A build writes a file of its own that appears whole, so builds at one time do not meet. Nothing secret is in it: the
command line that builds the same again names secrets, and packages have no more than names and versions.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from blockdev.core.atomic_file import write_file
from blockdev.core.typed_json import Struct, read
from builder.host_state.probe_results import cache_folder

FORMAT = 1  # raise it when what is kept changes its meaning
KEPT = 200  # builds
MOST_NAMES = 3  # of elements in one line
_FILE = re.compile(r"(?P<time>[0-9]{19})-[0-9]+-(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\.json\Z")


_NOTHING: Mapping[str, str] = {}


class BuiltOutput(Struct):
    """An output of a build: its type, its place, its digest and bytes; whether it was written anew."""

    type: str
    place: str
    digest: str = ""
    bytes: int = 0
    changed: bool = True


class Build(Struct):
    """One build. ``started`` is in seconds since 1970; ``packages`` are versions by name.

    ``asked`` are the elements that were named, ``elements`` all that were used; ``again`` is the command line that
    builds the same in ``folder``; ``build_image`` a digest; ``lock`` a file ("": none), ``base`` the image
    it began with.
    """

    format: int
    name: str
    arch: str
    started: float
    seconds: float
    stages: int
    hits: int
    asked: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    release: str = ""
    base: str = ""
    build_image: str = ""
    lock: str = ""
    again: tuple[str, ...] = ()
    folder: str = ""
    outputs: tuple[BuiltOutput, ...] = ()
    packages: Mapping[str, str] = _NOTHING

    @property
    def digest(self) -> str:
        """The first output's digest."""
        return self.outputs[0].digest if self.outputs else ""

    @property
    def bytes(self) -> int:
        """The first output's bytes."""
        return self.outputs[0].bytes if self.outputs else 0


def folder() -> Path:
    """Where the files lie."""
    return cache_folder() / "history"


def keep(build: Build) -> Path:
    """Write the file of a build, and let go of the oldest ones; raises OSError where it cannot be written."""
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"{time.time_ns():019d}-{os.getpid()}-{build.name}.json"
    write_file(file, json.dumps(vars(build), default=vars, ensure_ascii=True))
    for old in files()[:-KEPT]:
        old.unlink(missing_ok=True)
    return file


def files(name: str = "") -> list[Path]:
    """The files of builds (of this name), the oldest first."""
    try:
        entries = sorted(folder().iterdir())
    except OSError:
        return []
    return [file for file in entries if (match := _FILE.match(file.name)) and name in ("", match["name"])]


def load(file: Path) -> Build | None:
    """The build that a file tells of; None where it is gone, or of another version."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return read(Build, data) if data["format"] == FORMAT else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def builds(name: str = "") -> Iterator[tuple[Path, Build]]:
    """The builds (of this name), the newest first."""
    for file in reversed(files(name)):
        if build := load(file):
            yield file, build


def before(file: Path, build: Build) -> Build | None:
    """The build of the same name and architecture before that of ``file``; None where there is none."""
    older = (other for path, other in builds(build.name) if path.name < file.name and other.arch == build.arch)
    return next(older, None)


def same_packages(name: str, digests: set[str]) -> Mapping[str, str]:
    """The packages of the newest build of this name if it has an output of one of these digests."""
    newest = next((build for _, build in builds(name)), None)
    return newest.packages if newest and digests & {output.digest for output in newest.outputs} else {}


# -- two builds ----------------------------------------------------------------------------------------------------


class Change(Struct):
    """A package in two builds: its versions, "" where it was not there."""

    name: str
    before: str
    after: str


class Changes(Struct):
    """What a build changed: packages, elements, the size of the first output in bytes, whether its digest is another.

    ``known`` says whether the packages of both builds are known.
    """

    packages: tuple[Change, ...]
    elements_added: tuple[str, ...]
    elements_removed: tuple[str, ...]
    bytes: int
    same_digest: bool
    known: bool = True

    def count(self, kind: str) -> int:
        """How many packages were ``added``, ``removed`` or ``changed``."""
        return sum(kind_of(change) == kind for change in self.packages)

    def __str__(self) -> str:
        if self.same_digest:
            return "the same"
        words = [f"{count} {kind}" for kind in ("added", "removed", "changed") if (count := self.count(kind))]
        parts = [f"packages: {', '.join(words)}"] if words else []
        for sign, names in (("+", self.elements_added), ("-", self.elements_removed)):
            many = len(names) > MOST_NAMES
            parts += [f"{sign}{len(names)} elements"] if many else [f"{sign}{name}" for name in names]
        return "; ".join(parts) or "other bytes" + (", the same packages" if self.known else "")


def kind_of(change: Change) -> str:
    """What became of a package."""
    if not change.before:
        return "added"
    return "changed" if change.after else "removed"


def compare(old: Build, new: Build) -> Changes:
    """How ``new`` differs from ``old``."""
    both_known = bool(old.packages and new.packages)
    names = sorted(old.packages.keys() | new.packages.keys()) if both_known else []
    changes = (Change(name=name, before=old.packages.get(name, ""), after=new.packages.get(name, "")) for name in names)
    return Changes(
        packages=tuple(change for change in changes if change.before != change.after),
        elements_added=tuple(sorted(set(new.elements) - set(old.elements))),
        elements_removed=tuple(sorted(set(old.elements) - set(new.elements))),
        bytes=new.bytes - old.bytes,
        same_digest=bool(new.digest) and new.digest == old.digest,
        known=both_known,
    )


# -- the last report -------------------------------------------------------------------------------------------------


def remember_report(file: Path) -> None:
    """Note where the last HTML report lies; one that cannot be noted is good all the same."""
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        write_file(folder() / "last-report", os.fspath(file.absolute()))


def last_report() -> Path | None:
    """The last HTML report that is still there."""
    try:
        file = Path((folder() / "last-report").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return file if file.is_file() else None
