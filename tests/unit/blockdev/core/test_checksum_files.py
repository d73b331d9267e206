"""Checksum files: their lines are what sha256sum(1) writes, whoever writes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockdev.core.checksum_files import CHECKSUMS, beside, line
from builder.destination import checksum_files

NAMES = ["disk.raw", "a\\b\nc", "two\rlines", "\udcff.raw", " blank "]


def test_lines_of_a_checksum_file() -> None:
    """Two spaces, and a name that does not fit on a line is escaped as sha256sum(1) does."""
    assert line("ab", "disk.raw") == b"ab  disk.raw\n"
    assert line("ab", "a\\b\nc") == b"\\ab  a\\\\b\\nc\n"
    assert beside(Path("/x/disk.vhd"), "md5") == Path("/x/disk.vhd.md5")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CHECKSUMS)
def test_a_line_is_what_the_program_writes(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    written = subprocess.run([f"{kind}sum", "--", name], cwd=tmp_path, capture_output=True, check=True).stdout
    digest = written.split()[0].removeprefix(b"\\").decode()
    assert line(digest, name) == written


@pytest.mark.parametrize("name", NAMES)
def test_those_that_come_with_an_output_are_checked_by_the_program(name: str, tmp_path: Path) -> None:
    arrived, place = tmp_path / "arrived", tmp_path / "place"
    for folder in (arrived, place):
        folder.mkdir()
    (place / name).write_bytes(b"content")
    digest = subprocess.check_output(["sha256sum"], input=b"content").split()[0]
    (arrived / "artifact.sha256").write_bytes(digest + b"\n")
    ((file, content),) = checksum_files.beside(arrived, place / name, "", ()).items()
    assert file == place / f"{name}.sha256"
    file.write_bytes(content)
    command = ["sha256sum", "--check", "--strict", "--quiet", file.name]
    assert subprocess.run(command, cwd=place, check=False).returncode == 0
