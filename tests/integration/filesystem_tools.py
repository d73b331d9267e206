"""The tools of file systems, and what these say of one."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.filesystem_scenario import OFFSET, TREES

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
KINDS = tuple(TREES)
EXT = ("ext2", "ext3", "ext4")
MIB = 1 << 20


def run(*command: str | bytes | Path, **more: Any) -> bytes:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "MTOOLSRC": "/dev/null"}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        command, env=environment, capture_output=True, check=False, **more
    )
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


def debugfs(image: Path, command: bytes) -> bytes:
    """The answer to one command."""
    return run("debugfs", "-R", command, f"{image}?offset={OFFSET}")


def fields(said: bytes) -> dict[bytes, bytes]:
    """The words of ``stat`` before which there is a colon, each where it is first."""
    return dict(reversed(re.findall(rb"(\w+):\s+(\S+)", said)))


def plain_list(value: str) -> str:
    """An access list whose entries without a name have no id: debugfs gives them another one than the kernel."""
    if len(value) < 8:
        return value
    entries = struct.iter_unpack("<HHI", bytes.fromhex(value)[4:])
    return repr([(tag, allowed, who if tag in (2, 8) else -1) for tag, allowed, who in entries])


def quoted(name: str) -> bytes:
    """A path of the tree as debugfs reads it."""
    path = b"/" if name == "." else b"/" + os.fsencode(name)
    return b'"' + path.replace(b'"', b'""') + b'"'
