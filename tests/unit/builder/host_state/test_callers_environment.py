"""What the caller's environment has for other programs does not reach those that we start."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import builder
from builder.host_state import environment

ROOT = Path(__file__).parents[4]
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
    given = dict.fromkeys((*HOSTILE, *KEPT, "DIB_RELEASE", "ELEMENTS_PATH", "GITHUB_ACTIONS", "SSH_AUTH_SOCK"), "/x")
    environment.clean(given)
    assert set(given) == {*KEPT, "DIB_RELEASE", "ELEMENTS_PATH", "GITHUB_ACTIONS", "SSH_AUTH_SOCK"}


@pytest.mark.parametrize("folder", ["", "relative", "./relative", "~/relative"])
def test_folders_that_are_none_do_not_count(folder: str) -> None:
    given = {"HOME": folder, "XDG_CACHE_HOME": folder, "XDG_DATA_HOME": folder, "XDG_RUNTIME_DIR": "/run/user/1"}
    environment.clean(given)
    assert given == {"HOME": pwd.getpwuid(os.getuid()).pw_dir, "XDG_RUNTIME_DIR": "/run/user/1"}


def test_a_user_without_a_name_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_200_000_000)
    given = {"TERM": "xterm"}
    environment.clean(given)
    assert given == {"TERM": "xterm"}


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
    command = [sys.executable, "-m", "builder.cli", "build", "--engine", "podman", "--dest", str(engine / "out")]
    command.append("debian-minimal")
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


# What reads the environment where it is used, beside the one place that commands hand it on from.
READERS = {
    "host_state/environment.py": "the one place",
    "host_state/probe_results.py": "XDG_CACHE_HOME: where this user's cache is",
    "doctor/container_checks.py": "it runs in a container, as text",
    **dict.fromkeys(
        [f"engines/{name}.py" for name in ("docker", "podman", "podman_socket", "socket_engine", "remote_address")],
        "what the engines' own clients read of it, and are told by it",
    ),
    **dict.fromkeys(
        [f"engines/{name}.py" for name in ("protocol", "host", "command_engine")],
        "DIB_CTR_STORE, and what programs that are started get of it",
    ),
    "build_image/ensure.py": "DIB_CTR_BASE_IMAGE and TMPDIR: this machine's, not a build's",
    "destination/place.py": "what tar gets of it",
    "inspection/limits.py": "the bounds of this machine's user for images that are looked at",
    "registry/client.py": "where credentials are, as other clients of registries look for them",
    "remote_cache/github_actions.py": "the token of a runner of GitHub's",
    "remote_cache/open.py": "whether this is a runner of GitHub's",
    "progress/report.py": "TERM and GITHUB_ACTIONS: the terminal",
    "fleet/view.py": "TERM: the terminal",
    "progress/event_channel.py": "the descriptor of who started this process",
    "fleet/report.py": "the same",
}


def test_the_environment_is_read_in_one_place_and_where_it_says_so() -> None:
    package = Path(builder.__file__).parent
    readers = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"\bos\.(environ|getenv|putenv)\b|import environ\b", file.read_text(encoding="utf-8"))
    }
    assert readers == set(READERS)
