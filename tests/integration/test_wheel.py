"""The wheel holds everything: installed into an empty virtual environment, it builds far from the checkout."""

from __future__ import annotations

import os
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough("makes and installs the package: a minute")

CHECKOUT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def call(*argv: str | Path, cwd: Path) -> str:
    """Run a command outside the checkout's environment; its standard output."""
    away = {"PYTHONPATH", "VIRTUAL_ENV", "ELEMENTS_PATH"}
    environment = {name: value for name, value in os.environ.items() if name not in away}
    done = subprocess.run(argv, cwd=cwd, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{argv}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def shipped() -> Iterator[Path]:
    """Every file of the packages in the checkout, relative to it."""
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        for path in sorted((CHECKOUT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(CHECKOUT)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    call(PYTHON, "-m", "venv", folder / "venv", cwd=folder)
    pip = folder / "venv/bin/pip"
    call(pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", CHECKOUT, cwd=folder)
    (wheel,) = (folder / "dist").glob("dib_ctr-*.whl")
    call(pip, "install", "--quiet", wheel, cwd=folder)
    return folder / "venv"


@pytest.fixture(scope="module")
def site_packages(installed: Path) -> Path:
    """Where the packages lie in that environment."""
    (folder,) = (installed / "lib").glob("python3.*/site-packages")
    return folder


def test_every_file_is_there(site_packages: Path) -> None:
    files = list(shipped())
    assert any(path.match("stages/elements/debian-minimal/*") for path in files)
    assert any(path.parts[0] == "containerfiles" for path in files)
    wrong = [str(path) for path in files if not (site_packages / path).is_file()]
    assert not wrong, f"not in the wheel: {wrong}"
    differ = [str(path) for path in files if (site_packages / path).read_bytes() != (CHECKOUT / path).read_bytes()]
    assert not differ


def test_the_manual_page_is_where_man_looks(installed: Path) -> None:
    assert (installed / "share/man/man1/dib-ctr.1").read_bytes() == (CHECKOUT / "docs/dib-ctr.1").read_bytes()


def test_scripts_stay_executable_and_other_files_do_not_become_so(site_packages: Path) -> None:
    def executable(path: Path) -> bool:
        return bool(path.stat().st_mode & stat.S_IXUSR)

    wrong = [str(path) for path in shipped() if executable(site_packages / path) != executable(CHECKOUT / path)]
    assert not wrong


def test_the_tests_and_tools_are_not_in_it(site_packages: Path) -> None:
    assert not (site_packages / "tests").exists()
    assert not (site_packages / "run").exists()


def test_the_dependencies_suffice(installed: Path, tmp_path: Path) -> None:
    call(installed / "bin/pip", "check", cwd=tmp_path)
    assert PROJECT["project"]["version"] in call(installed / "bin/dib-ctr", "--version", cwd=tmp_path)


@pytest.mark.slow
def test_it_builds_from_there(installed: Path, tmp_path: Path) -> None:
    call(installed / "bin/dib-ctr", "build", "--output", "oci", "--dest", tmp_path, "debian-minimal", cwd=tmp_path)
    layout = tmp_path / "debian-minimal.oci"
    assert (layout / "index.json").is_file()
    assert '"Architecture"' in call("skopeo", "inspect", f"oci:{layout}", cwd=tmp_path)
