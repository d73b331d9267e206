"""The GitHub Action's inputs and outputs, and the expressions in action.yml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockdev.core.errors import UsageError
from builder.cli import main
from builder.frontends import github_action
from builder.request.option_table import OPTIONS
from builder.request.option_table.option import Input
from tests.actions.expressions import ExpressionError, evaluate, filled
from tests.actions.run import CHECKOUT, defaults, parsed

ACTION: dict[str, Any] = yaml.safe_load((CHECKOUT / "action.yml").read_text(encoding="utf-8"))
TEXT = (CHECKOUT / "action.yml").read_text(encoding="utf-8")
REPORT = Path("report.json")
CONTEXTS = {"inputs": {"a": "x", "b-c": "", "yes": "true"}, "steps": {"one": {"outputs": {"path": "/p"}}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.a", "x"),
        ("inputs.a == 'X' && 'same'", "same"),
        ("inputs.b-c || 'else'", "else"),
        ("!inputs.b-c", True),
        ("inputs.nothing.further", None),
        ("steps.one.outputs.path != '' && (inputs.yes == 'true')", True),
        ("contains(format('{0}{1}', inputs.a, 'it''s'), \"no\") || 1", None),
        ("${{ contains(format('{0}{1}', inputs.a, 'it''s'), 'T''S') }}", True),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    if '"' in text:  # GitHub knows no such quotes
        with pytest.raises(ExpressionError):
            evaluate(text, CONTEXTS)
    else:
        assert evaluate(text, CONTEXTS) == value


def test_texts_with_expressions() -> None:
    assert filled("${{ inputs.a }}/${{ inputs.a == 'y' }}-${{ null }}", CONTEXTS) == "x/false-"
    with pytest.raises(ExpressionError):
        evaluate("nothing.a", CONTEXTS)


def test_every_input_is_used_and_every_one_used_is_there() -> None:
    assert set(re.findall(r"inputs\.([a-z-]+)", TEXT)) == set(ACTION["inputs"])


def test_steps_are_given_the_build_inputs_that_become_options() -> None:
    """A variable for each input that the command reads, none of a secret."""
    (build,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "build")
    given = {name.removeprefix("INPUT_").lower() for name in build["env"] if name.startswith("INPUT_")}
    doors = [option.doors.action for option in OPTIONS]
    options = {name for door in doors if isinstance(door, Input) for name in door.names}
    assert given == {*options, "elements", "images", "arguments", "page", "summary"}
    assert "password" not in given


def test_the_command_that_the_action_runs_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    (build,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "build")
    assert main(build["run"].partition(" dib-ctr ")[2].split()) == 2
    assert "this command is for the GitHub Action" in capsys.readouterr().err


def test_what_is_given_to_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="no input elemnts"):
        defaults(ACTION, {"elemnts": "x"})


def test_words_of_elements() -> None:
    inputs = github_action.inputs_of(
        {
            "INPUT_ELEMENTS": "debian-minimal\n vm ",
            "INPUT_OUTPUT": "qcow2\noci,compress=zstd\n",
            "INPUT_CACHE": "type=gha",
            "INPUT_CACHE_TO": "type=dir,path=/c",
            "INPUT_PACKAGES": "jq  curl",
            "INPUT_VARIABLES": "A=1 2\nB=3",
            "INPUT_BOOT_TEST": "true",
            "INPUT_ARGUMENTS": "--slim 'a b'",
            "INPUT_NAME": "",
            "HOME": "/root",
        }
    )
    assert github_action.words(inputs, REPORT) == [
        *("build", "--report", "report.json", "--report", "report.html", "--set", "A=1 2", "--set", "B=3"),
        *("--package", "jq", "--package", "curl", "--output", "qcow2", "--output", "oci,compress=zstd"),
        *("--cache-from", "type=gha", "--cache-to", "type=dir,path=/c", "--cache-to", "type=gha"),
        *("--boot-test", "--slim", "a b", "debian-minimal", "vm"),
    ]


def test_words_of_a_file_of_images() -> None:
    inputs = {"images_file": "images.yaml", "images": "a b", "engine": "podman", "boot_test": "true"}
    assert github_action.words(inputs, REPORT)[5:] == ["--engine", "podman", "--file", "images.yaml", "a", "b"]


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({}, "elements or images-file"),
        ({"elements": "x", "images_file": "y"}, "elements or images-file"),
        ({"images_file": "y", "packages": "z"}, "packages does not go with images-file"),
        ({"elements": "x", "boot_test": "yes"}, "boot-test is 'yes'"),
        ({"elements": "x", "arguments": "'a"}, "arguments cannot be split"),
    ],
)
def test_inputs_that_cannot_be(inputs: dict[str, str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        github_action.words(inputs, REPORT)


def test_outputs_of_several_lines_are_read_back() -> None:
    assert parsed(github_action.written({"a": "1", "b": "2\n3=4\n", "c": ""})) == {"a": "1", "b": "2\n3=4\n", "c": ""}


TOLD: dict[str, Any] = {
    "images": [
        {
            "name": "a|b",
            "status": "built",
            "seconds": 61.4,
            "stages": 14,
            "hits": 12,
            "pushed": "localhost:5000/x/y:1@sha256:00",
            "changes": "packages: 2 changed",
            "outputs": [
                {"place": "out/a.oci", "type": "oci", "digest": "sha256:11", "bytes": 28_200_000, "changed": True},
                {"place": "/else/a.tar", "type": "tar", "digest": "sha256:22", "bytes": 0, "changed": True},
            ],
        },
        {
            "name": "c",
            "status": "failed",
            "seconds": 1.0,
            "stages": 0,
            "hits": 0,
            "outputs": [],
            "failure": {"text": "why"},
            "slowest": [{"what": "install/`e/10-x", "seconds": 61.2}, {"what": "quick", "seconds": 0.4}],
        },
    ]
}


def test_outputs_of_a_report(tmp_path: Path) -> None:
    (tmp_path / "out/a.oci").mkdir(parents=True)
    made = github_action.outputs(TOLD, tmp_path)
    assert made["path"] == str(tmp_path / "out/a.oci")
    assert made["paths"].splitlines() == [str(tmp_path / "out/a.oci"), "/else/a.tar"]
    assert made["files"] == ""  # a folder, and one that is not there
    assert (made["pushed-name"], made["pushed-digest"]) == ("localhost:5000/x/y", "sha256:00")
    assert (made["stages"], made["hits"], made["digest"]) == ("14", "12", "sha256:11")


def test_every_output_of_the_build_step_is_written() -> None:
    read = set(re.findall(r"steps\.build\.outputs\.([a-z-]+)", TEXT))
    assert read == {*github_action.outputs({"images": []}, Path("/")), "report", "page", "page-name", "dest"}


def test_the_page_is_written_where_nobody_says_no() -> None:
    assert "report.html" not in github_action.words({"elements": "a", "page": "false"}, REPORT)
    with pytest.raises(UsageError):
        github_action.words({"elements": "a", "page": "maybe"}, REPORT)


def test_pages_have_names_of_their_own() -> None:
    names = {github_action.page_name({"images": [{"name": "a/b:c"}]}) for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch("dib-ctr-report-a-b-c-[0-9a-f]{8}", name) for name in names)
    assert github_action.page_name({"images": []}).startswith("dib-ctr-report-images-")


def test_the_summary_tells_of_every_image() -> None:
    text = github_action.summary(TOLD)
    assert "| a\\|b | built | 61 | 12 of 14 | a.oci | 28.2 MB | sha256:11 |" in text
    assert "|  |  |  |  | a.tar |  | sha256:22 |" in text
    assert "| c | failed |" in text
    assert "a\\|b, since the build before: packages: 2 changed\n" in text
    assert "c, the slowest: `install/e/10-x` 61 s\n" in text
    assert text.endswith("**c**\n\n```text\nwhy\n```\n")


def test_the_nightly_runs_images_are_spread_over_runners(capsys: pytest.CaptureFixture[str]) -> None:
    """Each image is in one job, on a runner of its own architecture; machines meet the containers they begin as."""
    assert main(["matrix", "-f", str(CHECKOUT / ".github/images.yaml"), "--format", "github"]) == 0
    jobs = json.loads(capsys.readouterr().out)["include"]
    images = [image for job in jobs for image in job["images"].split()]
    assert len(images) == len(set(images)) > 10
    assert all(job["runs-on"] == {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}[job["arch"]] for job in jobs)
    (machine,) = (job for job in jobs if "debian-machine" in job["images"].split())
    assert "debian-trixie-amd64" in machine["images"].split()
