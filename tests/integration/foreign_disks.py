"""Programs that write disks to be inspected, and that say what is on them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MIB = 1 << 20
SECTOR = 512
ID = "12345678-9abc-4def-8123-456789abcdef"
LINUX, SWAP, ESP = (
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
)
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
FSTAB = "LABEL=root / ext4 defaults 0 1\n"
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def run(*arguments: str | Path, stdin: bytes = b"", check: bool = True) -> str:
    """A tool's output; those of administrators are found as well."""
    found = shutil.which(str(arguments[0]), path=PATH)
    assert found, f"{arguments[0]} is not installed (tests/debian-packages.txt)"
    done = subprocess.run([found, *arguments[1:]], input=stdin, check=False, capture_output=True)
    assert not check or not done.returncode, done.stderr.decode()
    return done.stdout.decode()


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path
