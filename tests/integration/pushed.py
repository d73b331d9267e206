"""What a push leaves in a registry and among processes, and the command that pushes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from stages.outputs.formats import media_types
from tests.integration.command import Outcome


def raw(host: str, path: str) -> bytes:
    types = f"{media_types.MANIFEST}, {media_types.INDEX}"
    asked = urllib.request.Request(f"http://{host}/v2/{path}", headers={"Accept": types})
    with urllib.request.urlopen(asked) as answer:
        data: bytes = answer.read()
        return data


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def cli(*arguments: str, environment: dict[str, str] | None = None) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def living(group: int) -> list[str]:
    """The processes of a group but those that only wait for someone to hear of their end."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(process.name)
    return found
