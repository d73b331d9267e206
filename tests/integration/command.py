"""Running `dib-ctr` as a user does, against real engines, and reading what it reports."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ELEMENTS = Path(__file__).parents[1] / "elements"


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its status, its events (with ``--progress json``) and its messages."""

    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events among the lines of standard output."""
        found = []
        for line in self.stdout.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [event for event in found if isinstance(event, dict) and "type" in event]

    def titles(self, kind: str) -> list[str]:
        """The scripts of the stages for which there is an event of this kind (start, hit, wait)."""
        names: dict[int, str] = {}
        found = []
        for event in self.events:
            if event["type"] == "plan":
                names = {stage["number"]: stage["script"] for stage in event["stages"]}
            elif event["type"] == kind:
                found.append(names[event["number"]])
        return found

    def digest(self, output: str = "oci") -> str:
        """The digest of an output."""
        return str(next(e["digest"] for e in self.events if e["type"] == "output" and e["output"] == output))


@dataclass(frozen=True)
class Command:
    """`dib-ctr` with one engine, one store and one destination."""

    engine: str
    store: Path
    destination: Path
    elements: tuple[Path, ...] = (ELEMENTS,)

    def arguments(self, *arguments: str) -> list[str]:
        """The command line of ``arguments``, whose first one is the subcommand."""
        words = 2 if arguments[0] == "cache" else 1
        command, rest = arguments[0], arguments[words:]
        options = ["--engine", self.engine]
        if self.engine == "host":
            options += ["--store", str(self.store)]
        if command in ("build", "plan", "shell"):
            options += ["--elements-path", ":".join(map(str, self.elements))]
        if command == "build":
            options += ["--dest", str(self.destination), "--progress", "json"]
        return [sys.executable, "-m", "builder.cli", *arguments[:words], *options, *rest]

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        return subprocess.Popen(
            self.arguments(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(variables or {})},
            start_new_session=True,
        )

    def __call__(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Outcome:
        """Run it to the end."""
        process = self.start(*arguments, variables=variables)
        stdout, stderr = process.communicate()
        return Outcome(process.returncode, stdout, stderr)

    def build(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Outcome:
        """Build, and fail with all it said where it does not succeed."""
        outcome = self("build", *arguments, variables=variables)
        assert outcome.status == 0, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


def kept_packages(store: Path, cache: str) -> dict[str, bool]:
    """The names of the packages that a store's cache has kept, and whether each is still what the repositories list."""
    kept = {}
    for file in (store / "cache" / cache).rglob("*"):
        if match := re.fullmatch("([0-9a-f]{64})-[0-9a-f]{32}-(.+)", file.name):
            kept[match[2]] = hashlib.sha256(file.read_bytes()).hexdigest() == match[1]
    return kept


def write_planting_element(folder: Path, place: str) -> None:
    """Write the element ``planting``: its script changes a byte of each package that it finds below a cache's place.

    Size and time stay. It fails where it finds none.
    """
    lines = (
        "# dnf, zypper, pacman, apk: these words give the stage the packages' cache",
        "shopt -s globstar nullglob",
        "found=0",
        f"for each in {place}/**/*.rpm {place}/**/*.pkg.tar.* {place}/**/*.apk; do",
        '    touch -r "$each" /tmp/time',
        '    exec 3<> "$each"',
        "    printf X >&3",
        "    exec 3>&-",
        '    touch -r /tmp/time "$each"',
        "    found=1",
        "done",
        "rm -f /tmp/time",
        '[ "$found" = 1 ]',
    )
    write_element(folder, "planting", {"post-install.d/50-plant": script(*lines)})


def write_element(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    """Write an element below ``folder``; what begins with ``#!`` becomes executable. Returns the element's folder."""
    for path, text in files.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    return folder / name


def script(*lines: str) -> str:
    """A bash script of these lines."""
    return "\n".join(("#!/bin/bash", "set -eu -o pipefail", *lines, ""))


def has(*programs: str) -> bool:
    """Are these programs on PATH."""
    return all(shutil.which(program) for program in programs)


def stage_scripts(numbers: Sequence[int], text: str = "echo {0} > /etc/stage-{0}") -> dict[str, str]:
    """Many small scripts of install.d, one a number."""
    return {f"install.d/{number}-stage": script(text.format(number)) for number in numbers}
