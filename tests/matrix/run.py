"""Building one row with `dib-ctr`, as a user would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.repositories.apt_sources import debian_mirror
from tests.matrix.results import BOOTED, BUILT, FAILED, Result
from tests.matrix.rows import Row

BOOT_TIME = 900  # seconds; without KVM, beside other machines
BUILD_TIME = 1800  # seconds; a build that hangs must not keep the other rows from their turn
PACKAGES = {
    "alpine": "tree",
    "gentoo": "app-text/tree",
}  # what the image with one more package has, where that is not "tree"


@dataclass(frozen=True)
class Outcome:
    """How one build went: its seconds, the event of its output, and what it said where it failed."""

    seconds: float
    bytes: int = 0
    digest: str = ""
    error: str = ""


@dataclass(frozen=True)
class Runner:
    """Builds with one engine below ``folder``; ``variables`` (mirrors, keys) are those of a row's source.

    ``firmware`` is what disks are started with; "": whatever they are made for. ``build_time`` is in seconds.
    """

    folder: Path
    engine: str
    variables: Mapping[tuple[str, str, str], Mapping[str, str]]
    firmware: str = ""
    build_time: float = BUILD_TIME

    def build(self, row: Row, arguments: Sequence[str], store: str = "store") -> Outcome:
        """One build of a row's operating system with more arguments."""
        destination = self.folder / "out" / row.name
        destination.mkdir(parents=True, exist_ok=True)
        variables = dict(self.variables.get(row.source, {}))
        if row.main_only:
            variables["DIB_APT_SOURCES_CONF"] = f"default:deb {debian_mirror().archive} {row.release} main"
        settings = [f"--set={name}={value}" for name, value in variables.items()]
        command = [
            *(sys.executable, "-m", "builder.cli", "build", "--engine", self.engine, "--progress", "json"),
            *("--arch", row.arch, "--release", row.release, "--dest", str(destination), *settings),
            *(("--store", str(self.folder / store)) if self.engine == "host" else ()),
            *arguments,
        ]
        started = time.monotonic()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=self.build_time
            )
        except subprocess.TimeoutExpired:
            return Outcome(time.monotonic() - started, error=f"not built within {self.build_time:.0f} s")
        seconds = time.monotonic() - started
        outputs = [event for event in _events(done.stdout) if event.get("type") == "output"]
        if done.returncode != 0 or not outputs:
            return Outcome(seconds, error=_error(done.stderr) or f"exit status {done.returncode}")
        return Outcome(seconds, int(outputs[0]["bytes"]), str(outputs[0]["digest"]))

    def row(self, row: Row) -> Result:
        """A row's image, and its disk, which is started, where the row has one; of the outputs nothing stays."""
        try:
            return self._row(row)
        finally:
            shutil.rmtree(self.folder / "out" / row.name, ignore_errors=True)

    def _row(self, row: Row) -> Result:
        image = self.build(row, ["-o", "oci", row.element])
        result = Result(row.name, FAILED if image.error else BUILT, image.seconds, image.bytes, reason=image.error)
        if image.error or not row.disk:
            return result
        disk = self.build(row, ["-o", "qcow2", "--name", "disk", row.element, "vm"])
        booted = Outcome(0.0) if disk.error else self.boot(self.folder / "out" / row.name / "disk.qcow2", row.arch)
        reason = disk.error or booted.error
        seconds = disk.seconds + booted.seconds
        state = FAILED if reason else BOOTED
        return replace(result, disk=state, disk_seconds=seconds, disk_bytes=disk.bytes, reason=reason)

    def boot(self, disk: Path, arch: str) -> Outcome:
        """Start a disk up to its login, in a machine of its architecture: an image does not say which that is."""
        firmware = ("--firmware", self.firmware) if self.firmware else ()
        options = ("--arch", arch, "--timeout", str(BOOT_TIME), *firmware)
        command = [sys.executable, "-m", "builder.cli", "boot", *options, str(disk)]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        seconds = time.monotonic() - started
        return Outcome(seconds, error=_error(done.stderr) or "no login" if done.returncode else "")


def _events(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _error(said: str) -> str:
    """The error of a build in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = next((line for line in lines if re.match(r"(error|failed)\b", line)), lines[-1] if lines else "")
    return found.removeprefix("error: ")[:300]
