"""The GitHub Action's own steps, as they stand in action.yml: inputs to outputs, with a cache between two machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.actions.run import CHECKOUT, StepError, run

TINY = "tiny-os"


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    """A runner's, with a store and a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "VIRTUAL_ENV", "SSL_CERT_FILE") if name in os.environ}
    return {**kept, "HOME": str(place / "home"), "ELEMENTS_PATH": str(CHECKOUT / "tests/elements"), "NO_COLOR": "1"}


@pytest.mark.thorough("the action's steps twice over")
def test_two_runs_share_a_cache(place: Path, environment: dict[str, str]) -> None:
    """The second machine runs no stage; both give the same image, outputs for later steps and a summary."""
    results = []
    for machine in ("first", "second"):
        workspace = place / machine
        workspace.mkdir()
        inputs = {
            "elements": TINY,
            "engine": "host",
            "output": "oci-archive\ntar",
            "name": "tiny",
            "upload": "images",
            "cache": f"type=dir,path={place / 'cache'}",
        }
        results.append(run(workspace, inputs, {**environment, "DIB_CTR_STORE": f"{workspace}/store"}))
    first, second = results
    assert first.outputs["digest"].startswith("sha256:")
    assert first.outputs["digest"] == second.outputs["digest"]
    assert Path(second.outputs["path"]).is_file()
    assert [Path(path).name for path in second.outputs["paths"].splitlines()] == ["tiny.oci.tar", "tiny.tar"]
    assert first.outputs["hits"] == "0"
    assert second.outputs["hits"] == second.outputs["stages"] != "0"
    assert "| tiny | built |" in second.summary
    assert Path(second.outputs["report"]).name == "report.json"  # (the runner's folder is gone by now)
    page, uploading = second.uses
    assert page["name"].startswith("dib-ctr-report-tiny-")
    assert page["path"] == second.outputs["page"]
    assert page["path"].endswith(".html")
    assert uploading["uses"].startswith("actions/upload-artifact@")
    assert Path(uploading["path"]) == Path(second.outputs["path"]).parent


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_file_of_images(place: Path, environment: dict[str, str]) -> None:
    workspace = place / "work"
    workspace.mkdir()
    (workspace / "images.yaml").write_text(
        f"images:\n  one: {{elements: [{TINY}], outputs: [tar]}}\n  two: {{extends: one, elements: [greeting]}}\n"
    )
    inputs = {"images-file": "images.yaml", "images": "two", "engine": "host", "cache": ""}
    made = run(workspace, inputs, {**environment, "DIB_CTR_STORE": f"{workspace}/store"})
    assert Path(made.outputs["path"]) == workspace / "dib-ctr-out/two.tar"
    assert made.uses == []


def test_a_failed_build_fails_its_step_and_says_why(
    tmp_path: Path, environment: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = {"elements": "no-such-element", "engine": "host", "cache": ""}
    with pytest.raises(StepError, match="'Build' ended with status 2"):
        run(tmp_path, inputs, environment)
    assert "no-such-element" in capfd.readouterr().err
