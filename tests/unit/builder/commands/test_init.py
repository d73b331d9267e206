"""A first project is one that builds: its element is right, its images are planned, its workflow is one."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from builder.cli import main
from builder.commands.init import TEMPLATE, files
from builder.describe.generate import SUFFIXES as DOCUMENTS
from builder.destination import SUFFIXES
from builder.frontends.images_file.load import load


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    return tmp_path / "mine"


def test_all_of_it_is_there_and_scripts_run(project: Path) -> None:
    written = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    assert written == sorted(map(str, files()))
    assert all((project / name).read_bytes() == (TEMPLATE / name).read_bytes() for name in files())
    runnable = {str(name) for name in files() if (project / name).stat().st_mode & stat.S_IXUSR}
    assert runnable == {"elements/site/install.d/50-greeting"}


def test_its_element_has_nothing_wrong(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["elements", "--check", "--strict", "--elements-path", str(project / "elements"), "site"])
    assert ended.value.code == 0, capsys.readouterr().out


def test_its_images_are_right(project: Path) -> None:
    images = load((project / "images.yaml",), Path())
    assert [image.name for image in images] == ["container", "machine"]


@pytest.mark.skipif(not shutil.which("actionlint"), reason="takes actionlint")
def test_its_workflow_is_one(project: Path) -> None:
    workflow = project / ".github/workflows/images.yml"
    subprocess.run(["actionlint", workflow], check=True)
    step = yaml.safe_load(workflow.read_text())["jobs"]["images"]["steps"][-1]
    inputs = yaml.safe_load((Path(__file__).parents[4] / "action.yml").read_text())["inputs"]
    assert set(step["with"]) <= set(inputs)


def test_git_ignores_what_builds_leave(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet", project], check=True)
    left = [f"machine{suffix}" for suffix in SUFFIXES.values()] + ["out/anything"]
    left += [f"machine.oci{suffix}" for suffix in DOCUMENTS.values()] + ["machine.qcow2.sha256", "machine.raw.zst.md5"]
    for name in left:
        place = project / name / "file" if name.endswith((".oci", ".dir")) else project / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    done = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=project, capture_output=True, text=True, check=True
    )
    assert sorted(line[3:] for line in done.stdout.splitlines()) == sorted(map(str, files()))


@pytest.mark.parametrize("name", ["images.yaml", "elements/site/element-deps"])
def test_nothing_is_replaced(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert f"{name}: there already" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_checkouts_own_gitignore_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert "add /out/ to it" in capsys.readouterr().out
    assert (tmp_path / "images.yaml").is_file()


def test_a_folder_that_cannot_be_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "/proc/mine"]) == 1
    assert "error: the project cannot be written" in capsys.readouterr().err
