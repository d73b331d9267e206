"""What locks say, mirrors that move on, and machines that have built nothing yet."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from qemu.architecture import native
from tests.integration.aptmirror import AptMirror
from tests.integration.command import Command, Outcome

LATER = "Thu, 05 Nov 2026 10:00:00 UTC"
WHAT = ("-p", "extra", "small-debian")


def other_store(command: Command, name: str) -> Command:
    """The same command on a machine that has built nothing yet."""
    place = command.store.parent
    return Command("host", place / f"store-{name}", place / f"out-{name}", command.elements)


def move(mirror: AptMirror) -> None:
    """The mirror gets a new version of ``extra`` and drops the old one."""
    mirror.package("extra", "2.0")
    mirror.publish(LATER)
    mirror.asked.clear()


def empty(store: Path) -> None:
    """Remove a store, whoever owns what is in it."""
    mapped = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]
    subprocess.run([*mapped, "rm", "-rf", str(store)], check=True)


def used(lock: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lock.read_text())["architectures"][native()]
    return found


def started(outcome: Outcome) -> list[str]:
    return [event["type"] for event in outcome.events if event["type"] == "start"]


def without_network(command: Command, *arguments: str) -> Outcome:
    """Run it in a network that leads nowhere (root), or offline."""
    argv = command.arguments(*arguments)
    argv = ["unshare", "--net", *argv] if os.geteuid() == 0 else [*argv, "--offline"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)
