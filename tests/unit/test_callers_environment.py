"""What the caller's environment has for other programs does not reach those that we start."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from builder.host_state import environment

ROOT = Path(__file__).parents[2]
HOSTILE = {
    "LD_PRELOAD": "/no/such/library.so",
    "LD_LIBRARY_PATH": "/no/such",
    "BASH_ENV": "{folder}/rc",
    "ENV": "{folder}/rc",
    "BASH_FUNC_tar%%": "() { touch {folder}/ran; }",
    "PYTHONINSPECT": "",
    "PYTHONWARNINGS": "error",
    "GIT_DIR": "/no/such",
    "GIT_SSH_COMMAND": "touch {folder}/ran",
    "PERL5OPT": "-Mno_such_module",
    "TAR_OPTIONS": "--to-command=touch {folder}/ran",
    "XZ_OPT": "--no-such-option",
    "SHELLOPTS": "xtrace",
    "IFS": "x",
}
KEPT = (
    "PATH",
    "HOME",
    "XDG_CACHE_HOME",
    "TMPDIR",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "http_proxy",
    "LC_ALL",
    "TERM",
    "COLUMNS",
)


def test_what_goes_and_what_stays() -> None:
    given = dict.fromkeys((*HOSTILE, *KEPT, "DIB_RELEASE", "ELEMENTS_PATH", "GITHUB_ACTIONS", "SSH_AUTH_SOCK"), "x")
    environment.clean(given)
    assert set(given) == {*KEPT, "DIB_RELEASE", "ELEMENTS_PATH", "GITHUB_ACTIONS", "SSH_AUTH_SOCK"}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A folder with a podman that writes down what environment it got, and fails."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/podman"
    program.write_text(f'#!/bin/bash\nenv -0 >> "{tmp_path}/seen"\nexit 125\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "rc").write_text(f"touch {tmp_path}/ran\n")
    return tmp_path


def test_an_engine_sees_none_of_it(engine: Path) -> None:
    hostile = {name: value.replace("{folder}", str(engine)) for name, value in HOSTILE.items()}
    mine = {"PATH": f"{engine}/bin:{os.environ['PATH']}", "XDG_CACHE_HOME": str(engine / "cache"), "DOCKER_HOST": "x"}
    command = [sys.executable, "-m", "builder.cli", "build", "--engine", "podman", "debian-minimal"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **hostile, **mine},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    seen = {entry.partition("=")[0] for entry in (engine / "seen").read_text().split("\0") if entry}
    assert "DOCKER_HOST" in seen
    assert not seen & set(HOSTILE)
    assert not (engine / "ran").exists()
