"""Many images from one file, built for real: what they share is built once, and failures and interrupts end well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import junitparser
import pytest

from tests.integration.command import ELEMENTS, script, write_element
from tests.integration.registry import registry

FILE = """
defaults:
  elements-path: [elements, TESTS]
  outputs: [oci]
images:
  base: {abstract: true, elements: [tiny-os, early]}
  plain: {extends: base}
  says:
    extends: base
    elements: [says]
    matrix: {DIB_WORD: [one, two, three]}
  deep:
    extends: [says]
    elements: [late]
    matrix: {DIB_WORD: [one, two], DIB_LATE: [x, y]}
"""
NAMES = ["plain", *(f"says-{word}" for word in ("one", "two", "three"))]
NAMES += [f"deep-{word}-{late}" for word in ("one", "two") for late in "xy"]


@pytest.fixture
def folder(place: Path) -> Path:
    elements = place / "elements"
    elements.mkdir()
    # Long enough that builds which begin together meet here.
    write_element(elements, "early", {"install.d/50-early": script("sleep 0.5; date +%s%N > /etc/early")})
    write_element(elements, "says", {"install.d/60-says": script('echo "$DIB_WORD" > /etc/says')})
    write_element(elements, "late", {"post-install.d/50-late": script('echo "$DIB_LATE" > /etc/late')})
    (place / "images.yaml").write_text(FILE.replace("TESTS", str(ELEMENTS)))
    return place


def words(folder: Path, command: str, *more: str) -> list[str]:
    options = ["--engine", "host", "--store", str(folder / "store"), "-f", str(folder / "images.yaml")]
    return [sys.executable, "-P", "-m", "builder.cli", command, *options, *more]


def run(folder: Path, command: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(folder, command, *more), cwd=folder, capture_output=True, text=True, check=False)


def report(folder: Path, *more: str, status: int = 0) -> dict[str, Any]:
    done = run(folder, "build", "--dest", "out", "--report", "report.json", "--junit", "junit.xml", *more)
    assert done.returncode == status, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@pytest.mark.thorough("eight builds at once")
def test_eight_at_once_build_what_they_share_once(folder: Path) -> None:
    """Whichever comes first runs a stage, and the others take its layer: /etc/early has one time in all of them."""
    planned = json.loads(run(folder, "plan", "--json").stdout)
    assert list(planned["images"]) == NAMES
    first = report(folder, "--jobs", "8")
    assert [image["name"] for image in first["images"]] == NAMES
    assert first["stages_run"] == len(planned["stages"])
    assert first["stages_run"] + first["stages_from_cache"] == sum(map(len, planned["images"].values()))
    assert sum(image["waited_for_others"] for image in first["images"]) > 0
    digests = {image["name"]: image["outputs"][0]["digest"] for image in first["images"]}
    assert len(set(digests.values())) == len(NAMES)
    again = report(folder)
    assert again["stages_run"] == 0
    assert {image["name"]: image["outputs"][0]["digest"] for image in again["images"]} == digests
    assert not any(image["outputs"][0]["changed"] for image in again["images"])
    alone = run(folder, "plan", "deep-two-y", "--stages").stdout
    assert "1 image, " in alone
    assert alone.rstrip().endswith(" 0 to run")


WRONG = """
defaults: {elements-path: [elements, TESTS]}
images:
  no-name: {elements: [tiny-os, resolves-once], retries: {times: 3, wait: 0}}
  wrong: {elements: [tiny-os, fails], retries: 2}
  good: {elements: [tiny-os, early]}
"""


def test_failures_are_tried_again_named_and_reported(folder: Path) -> None:
    """A failure of the network is tried again; another one is not, and ends the request unless it is to keep going."""
    elements = folder / "elements"
    once = 'mkdir "$DIB_IMAGE_CACHE/once" 2>/dev/null && { echo "Temporary failure resolving mirror.invalid"; exit 1; }'
    write_element(elements, "resolves-once", {"extra-data.d/50-once": script(f"{once}; true")})
    write_element(elements, "fails", {"install.d/50-fails": script("echo this is why; exit 3")})
    (folder / "images.yaml").write_text(WRONG.replace("TESTS", str(ELEMENTS)))
    found = report(folder, "--jobs", "1", status=1)
    no_name, wrong, good = found["images"]
    assert (no_name["status"], no_name["attempts"]) == ("built", 2), no_name
    assert (wrong["status"], wrong["attempts"]) == ("failed", 1)
    assert "this is why" in wrong["failure"]["text"]
    assert "this is why" in Path(wrong["log"]).read_text()
    assert (good["status"], good["attempts"]) == ("skipped", 0)
    found = report(folder, "--jobs", "1", "--keep-going", status=1)
    assert [image["status"] for image in found["images"]] == ["built", "failed", "built"]
    (suite,) = junitparser.JUnitXml.fromfile(str(folder / "junit.xml"))
    assert (suite.tests, suite.failures, suite.skipped) == (3, 1, 0)
    done = run(folder, "build", "--dest", "out", "wrong")
    assert "error: 1 of 1 images failed: wrong" in done.stderr
    assert "wrong: error: the stage install/fails/50-fails failed with status 3" in done.stdout
    assert "dib-ctr shell" in done.stdout


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_images_are_pushed_where_the_file_or_the_command_says(folder: Path, open_folder: Path) -> None:
    """One place for all, but for an image that names its own; what is no image for a registry stays here."""
    with registry(open_folder / "many-registry") as running:
        images = f"""
defaults: {{elements-path: [{ELEMENTS}], outputs: [oci]}}
images:
  one: {{elements: [tiny-os]}}
  two: {{elements: [tiny-os, greeting], push: "{running.host}/elsewhere/two:1"}}
  tree: {{elements: [tiny-os], outputs: [tar]}}
"""
        (folder / "images.yaml").write_text(images)
        found = report(folder, "--push", f"{running.host}/all/", "--insecure")
        digests = [image["outputs"][0]["digest"] for image in found["images"]]
        places = [f"{running.host}/all/one:latest", f"{running.host}/elsewhere/two:1"]
        pushed = [image.get("pushed", "") for image in found["images"]]
        assert pushed == [f"{place}@{digest}" for place, digest in zip(places, digests[:2], strict=True)] + [""]
        for place, digest in zip(places, digests[:2], strict=True):
            words = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
            assert subprocess.check_output([*words, f"docker://{place}"], text=True).strip() == digest


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    yield from process.stdout


@pytest.mark.thorough("minutes of builds")
def test_an_interrupt_ends_all_builds_tidily(folder: Path) -> None:
    token = f"sleep 86{os.getpid()}"
    write_element(folder / "elements", "early", {"install.d/50-early": script(f"echo asleep; {token}")})
    options = ("--jobs", "2", "--dest", "out", "--report", "report.json", "--progress", "json", "plain", "says-one")
    process = subprocess.Popen(
        words(folder, "build", *options),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    guard = threading.Timer(120, process.kill)
    guard.start()
    for line in _lines(process):
        if '"asleep"' in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    guard.cancel()
    assert process.returncode == 130, errors
    end = time.monotonic() + 20
    while subprocess.run(["pgrep", "-f", f"^{token}"], capture_output=True, check=False).stdout:
        assert time.monotonic() < end, "a stage still runs"
        time.sleep(0.2)
    statuses = {image["status"] for image in json.loads((folder / "report.json").read_text())["images"]}
    assert statuses == {"interrupted"}
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())
    write_element(folder / "elements", "early", {"install.d/50-early": script("true")})
    assert report(folder, "plain", "says-one")["built"] == 2


@pytest.mark.thorough("minutes of builds")
def test_files_of_diskimage_builder(folder: Path) -> None:
    """The same file that the command of that name takes, with reports."""
    (folder / "images.yaml").write_text(
        "- imagename: a\n  types: [tar]\n  skip-base: true\n  elements: [tiny-os, says]\n"
        "  environment: {DIB_WORD: from-the-file, ELEMENTS_PATH: "
        f'"{folder}/elements:{ELEMENTS}"}}\n'
    )
    found = report(folder)
    (image,) = found["images"]
    (made,) = image["outputs"]
    assert made["place"] == str(folder / "a.tar")
    assert made["digest"].startswith("sha256:")
    said = subprocess.check_output(["tar", "-xOf", folder / "a.tar", "--wildcards", "*etc/says"], text=True)
    assert said == "from-the-file\n"
