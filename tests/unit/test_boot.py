"""The first program in a build container: it takes what is its own and keeps the agent's code whole."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import pytest

from builder.archive import code_archive, code_digest
from stages.boot import keep_code, read_request


@pytest.fixture
def given() -> Iterator[IO[bytes]]:
    """The writing end of a pipe that is this process's standard input."""
    reader, writer = os.pipe()
    before = os.dup(0)
    os.dup2(reader, 0)
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        yield pipe
    os.dup2(before, 0)
    os.close(before)


def test_control_lines_after_the_request_are_left_in_the_pipe(given: IO[bytes]) -> None:
    given.write(b"11\nthe request" + b"continue\n")
    assert read_request() == b"the request"
    assert os.read(0, 100) == b"continue\n"


def test_a_request_that_ends_early_is_noticed(given: IO[bytes]) -> None:
    given.write(b"11\nthe")
    given.close()
    with pytest.raises(EOFError):
        read_request()


def test_the_code_is_kept_once_under_its_digest(tmp_path: Path) -> None:
    folder = keep_code(code_archive(), tmp_path)
    assert folder == tmp_path / "agent" / code_digest()
    assert (folder / "stages/agent.py").is_file()
    state = folder.stat()
    assert keep_code(code_archive(), tmp_path) == folder
    assert folder.stat().st_mtime_ns == state.st_mtime_ns


def big_code() -> bytes:
    """Code that takes a moment to unpack."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(300):
            member = tarfile.TarInfo(f"stages/{number}.py")
            member.size = 2000
            archive.addfile(member, io.BytesIO(b"#" * 2000))
    return buffer.getvalue()


def keep(code: bytes, store: Path) -> int:
    return len(list((keep_code(code, store) / "stages").iterdir()))


def test_builds_that_start_at_once_share_the_code_and_leave_nothing(tmp_path: Path) -> None:
    with get_context("fork").Pool(8) as pool:
        found = pool.starmap(keep, [(big_code(), tmp_path)] * 16)
    assert found == [300] * 16
    assert len(list((tmp_path / "agent").iterdir())) == 1


def test_boot_needs_no_module_of_the_project() -> None:
    """Its text runs where the checkout is not."""
    text = (Path(__file__).parents[2] / "stages/boot.py").read_text()
    argv = [sys.executable, "-I", "-c", text, "--help"]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--store" in done.stdout
