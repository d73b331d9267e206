"""``./run`` on this machine: first runs, later runs, broken ones and other people's checkouts; real apt and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
RUN = CHECKOUT / "run"
BASH = "/bin/bash"
NOBODY = 65534


def run(*argv: str, script: Path = RUN, user: int | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """``./run ARGV`` with these variables on top of the caller's."""
    command = [BASH, str(script), *argv]
    inherited = {name: value for name, value in os.environ.items() if name != "DIB_CTR_VENV"}
    return subprocess.run(
        command, env=inherited | variables, user=user, group=user, cwd="/", text=True, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that two concurrent first runs have made."""
    venv = tmp_path_factory.mktemp("run") / "venv"
    command = [BASH, str(RUN), "dib-ctr", "--version"]
    variables = os.environ | {"DIB_CTR_VENV": str(venv)}
    pair = [
        subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    results = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], results
    assert results[0][0] == results[1][0] != ""
    said = "".join(messages for _, messages in results)
    assert said.count("making a virtual environment") == 1
    assert said.count("installing dib-ctr") == 1
    assert said.count(f"to have dib-ctr as a command of its own: pipx install {CHECKOUT}\n") == 1
    return venv


def checkout_copy(folder: Path) -> Path:
    """What ./run needs of a checkout, as a folder of its own."""
    ours = folder / "checkout"
    ours.mkdir()
    for name in ("run", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(CHECKOUT / name, ours / name)
    for name in ("builder", "stages", "blockdev", "qemu"):
        shutil.copytree(CHECKOUT / name, ours / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    (ours / "tests").mkdir()
    shutil.copy2(CHECKOUT / "tests/debian-packages.txt", ours / "tests")
    return ours


@pytest.mark.thorough("installs an environment; continuous integration comes here through ./run itself")
def test_a_later_run_starts_nothing_and_says_nothing(venv: Path) -> None:
    # The first of the two looks again where dpkg has been at work; the second would fail at whatever it started.
    assert run("dib-ctr", "--version", DIB_CTR_VENV=str(venv)).returncode == 0
    done = run("dib-ctr", "--version", DIB_CTR_VENV=str(venv), PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.thorough("installs an environment; continuous integration comes here through ./run itself")
def test_the_command_finds_the_environment_first(venv: Path) -> None:
    done = run("dib-ctr", "--version", DIB_CTR_VENV=str(venv))
    assert done.returncode == 0
    shebang = (venv / "bin/dib-ctr").read_text().splitlines()[0]
    assert shebang.startswith(f"#!{venv}/bin/python")


@pytest.mark.thorough("installs an environment; continuous integration comes here through ./run itself")
def test_a_half_finished_environment_is_made_again(venv: Path) -> None:
    broken = venv.parent / "broken"
    (broken / "bin").mkdir(parents=True)
    (broken / "bin/python").symlink_to("/usr/bin/python3")
    (broken / "ready-run").write_text((venv / "ready-run").read_text())
    done = run("dib-ctr", "--version", DIB_CTR_VENV=str(broken))
    assert done.returncode == 0, done.stderr
    assert "making a virtual environment" in done.stderr


@pytest.mark.parametrize("kind", ["named", "in the checkout", "link"])
def test_an_environment_of_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    own = tmp_path / "own"
    (own / "bin").mkdir(parents=True)
    for file in (own / "pyvenv.cfg", own / "bin/python"):
        file.write_text("mine")
    if kind == "named":
        done = run("dib-ctr", "--version", DIB_CTR_VENV=str(own))
        assert f"{own} is an environment of something else's" in done.stderr
    else:
        checkout = checkout_copy(tmp_path)
        if kind == "link":
            (checkout / ".venv").symlink_to(own)
        else:
            own = own.rename(checkout / ".venv")
        done = run("dib-ctr", "--version", script=checkout / "run", XDG_CACHE_HOME="/proc/nowhere")
        assert "cannot write /proc/nowhere/dib-ctr/venv" in done.stderr  # it goes there instead
    assert done.returncode == 1
    assert sorted(path.name for path in own.rglob("*")) == ["bin", "python", "pyvenv.cfg"]


@pytest.mark.thorough("installs the environment twice")
def test_a_failed_step_shows_its_log_and_the_next_run_goes_on(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    failed = run("dib-ctr", "--version", DIB_CTR_VENV=str(venv), PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert failed.returncode == 1
    assert f"pip install failed; the whole log: {venv}/setup.log" in failed.stderr
    assert (venv / "setup.log").stat().st_size
    again = run("dib-ctr", "--version", DIB_CTR_VENV=str(venv))
    assert again.returncode == 0, again.stderr
    assert "making a virtual environment" not in again.stderr
    assert "installing dib-ctr" in again.stderr


@pytest.mark.thorough("installs an environment; continuous integration comes here through ./run itself")
def test_the_commands_own_status_and_arguments_come_through(venv: Path) -> None:
    assert run("dib-ctr", "no-such-command", DIB_CTR_VENV=str(venv)).returncode == 2
    done = run()
    assert done.returncode == 2
    assert "which command?" in done.stderr


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can read."""
    with tempfile.TemporaryDirectory(prefix="dib-ctr-run-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def folder_of_nobody(parent: Path) -> Path:
    """A folder that belongs to nobody."""
    folder = parent / "nobody"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.mark.thorough("installs an environment; continuous integration comes here through ./run itself")
@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which takes root")
def test_another_users_checkout_is_left_alone(public: Path) -> None:
    ours = checkout_copy(public)
    cache = folder_of_nobody(public)
    before = sorted(ours.rglob("*"))
    done = run("dib-ctr", "--version", script=ours / "run", user=NOBODY, HOME=str(cache), XDG_CACHE_HOME=str(cache))
    assert done.returncode == 0, done.stderr
    assert sorted(ours.rglob("*")) == before
    venv = cache / "dib-ctr" / ("venv" + str(ours).replace("/", "-"))
    assert (venv / "ready-run").is_file()


@pytest.mark.skipif(os.getuid() != 0, reason="becomes a user without sudo, which takes root")
def test_without_sudo_it_names_the_packages(public: Path) -> None:
    ours = checkout_copy(public)
    with (ours / "builder/debian-packages.txt").open("a") as file:
        file.write("package-that-nobody-has program-that-nobody-has\n")
    programs = public / "bin"
    programs.mkdir()
    for name in ("apt-get", "dpkg-query", "flock", "mkdir"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    cache = folder_of_nobody(public)
    done = run("dib-ctr", "--version", script=ours / "run", user=NOBODY, XDG_CACHE_HOME=str(cache), PATH=str(programs))
    assert done.returncode == 1
    assert "no sudo" in done.stderr
    assert "apt-get install --no-install-recommends package-that-nobody-has" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="asks apt, which takes root")
def test_a_package_that_apt_does_not_know_is_named_in_the_error(public: Path) -> None:
    ours = checkout_copy(public)
    with (ours / "builder/debian-packages.txt").open("a") as file:
        file.write("package-that-nobody-has program-that-nobody-has\n")
    done = run("dib-ctr", "--version", script=ours / "run")
    assert done.returncode == 1
    assert "Unable to locate package package-that-nobody-has" in done.stderr
    assert f"apt-get install failed; the whole log: {ours}/.venv/setup.log" in done.stderr
