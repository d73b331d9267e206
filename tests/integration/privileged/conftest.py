"""A folder for disks that are made with loop devices, and nothing of them left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.privileged.jobs import attached


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk; whatever a test does, no loop device and no mount of it is left."""
    folder = Path("/var/tmp") / f"dib-ctr-privileged-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    yield folder
    left = attached(folder)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    for device in left:
        subprocess.run(["losetup", "--detach", device], check=False)
    shutil.rmtree(folder)
    assert (left, mounts) == ([], [])
