"""What this and other programs say of a disk image, and of its parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def inspected(image: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", "disk", "inspect", "--json", image],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def planned(configuration: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", "disk", "plan", "--json", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DIB_BLOCK_DEVICE_CONFIG": configuration},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ext_says(image: Path, offset: int, command: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", command, f"{image}?offset={offset}"], capture_output=True, text=True, check=True
    ).stdout


def part(image: Path, offset: int, length: int, folder: Path) -> Path:
    """A part of an image as a file of its own."""
    target = folder / f"part-{offset}"
    with image.open("rb") as source, target.open("wb") as out:
        source.seek(offset)
        out.write(source.read(length))
    return target


def places(image: Path) -> list[tuple[int, int]]:
    found = json.loads(subprocess.check_output(["sfdisk", "--json", image]))["partitiontable"]
    return [(one["start"] * 512, one["size"] * 512) for one in found["partitions"]]


def sound(image: Path, offset: int, length: int, folder: Path) -> None:
    """fsck has nothing to say about the ext file system there."""
    file = part(image, offset, length, folder)
    done = subprocess.run(["e2fsck", "-fn", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    file.unlink()
