"""diskimage-builder's commands, run as its users run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import engines
from tests.integration.command import ELEMENTS, script, write_element
from tests.integration.engine_cases import missing

STORE = f"dib-ctr-test-{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    if shutil.which("podman") is None:
        missing("there is no podman")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIB_CTR_STORE", STORE)
        patch.setenv("DIB_CTR_ENGINE", "podman")  # "auto" remembers what worked last on this machine
        yield
        engines.select("podman").remove_store()


@pytest.fixture
def elements(place: Path) -> Path:
    folder = place / "elements"
    folder.mkdir()
    write_element(
        folder,
        "says",
        {"post-install.d/50-says": script('echo "$DIB_WORD $MY_OWN ${DIB_DEBUG_TRACE} $DIB_ARGS" > /etc/says')},
    )
    return folder


def run(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (place / "elements").mkdir(exist_ok=True)
    own = {"ELEMENTS_PATH": f"{ELEMENTS}:{place / 'elements'}", "MY_OWN": "mine", **environment}
    return subprocess.run(
        [sys.executable, "-P", "-m", "builder.cli", *words],
        cwd=place,
        env={**os.environ, "DIB_CTR_STORE": STORE, **own},
        capture_output=True,
        text=True,
        check=False,
    )


def done(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outcome = run(place, *words, **environment)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome


def names(place: Path) -> set[str]:
    return {file.name for file in place.iterdir() if file.is_file()}


def said(place: Path, name: str) -> str:
    listed = subprocess.check_output(["tar", "-tf", place / name], text=True).split()
    (found,) = [one for one in listed if one.endswith("etc/says")]
    return subprocess.check_output(["tar", "-xOf", place / name, found], text=True)


def test_types_names_variables_and_what_was_there(place: Path, elements: Path) -> None:
    words = ("disk-image-create", "-n", "-x", "-t", "tar,tgz,qcow2", "tiny-os", "-o", "it", "says", "--checksum")
    done(place, *words, DIB_WORD="one")
    first = {"it.tar", "it.tgz", "it.tgz.md5", "it.tgz.sha256", "it.qcow2", "it.qcow2.md5", "it.qcow2.sha256"}
    assert names(place) == first
    assert said(place, "it.tar") == f"one mine 1 {' '.join(words[1:])}\n"
    assert said(place, "it.tgz") == said(place, "it.tar")
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", place / "it.qcow2"]))
    assert info["format-specific"]["data"]["compression-type"] == "zlib"
    subprocess.run(["sha256sum", "--check", "--quiet", "it.qcow2.sha256", "it.tgz.sha256"], cwd=place, check=True)
    subprocess.run(["md5sum", "--check", "--quiet", "it.qcow2.md5", "it.tgz.md5"], cwd=place, check=True)
    assert done(place, *words, DIB_WORD="one").stdout.count("unchanged") == 3
    assert names(place) == first
    outcome = done(place, *words, DIB_WORD="two")
    assert said(place, "it.tar").startswith("two")
    old = names(place) - first
    assert {name.partition("-")[0] for name in old} == {"it"}
    assert sorted(Path(name).suffix for name in old) == [
        *(".md5", ".md5", ".qcow2", ".sha256", ".sha256", ".tar", ".tgz")
    ]
    assert outcome.stderr.count("the image that was there is now") == 3
    (tar,) = [name for name in old if name.endswith(".tar")]
    assert said(place, tar).startswith("one")
    done(place, *words, DIB_WORD="three", OVERWRITE_OLD_IMAGE="1")
    assert names(place) == first | old


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_other_kinds_of_trees(place: Path, elements: Path) -> None:
    (place / "manifest.json").write_text('{"acKind": "ImageManifest"}')
    words = ("disk-image-create", "-n", "-t", "squashfs,aci", "tiny-os", "-o", "it", "says")
    done(place, *words, ACI_MANIFEST="manifest.json", DIB_WORD="one")
    assert names(place) == {"it.squash", "it.aci", "manifest.json"}
    listed = subprocess.check_output(["tar", "-tf", place / "it.aci"], text=True).split()
    assert {name.partition("/")[0] for name in listed} == {"rootfs", "manifest"}
    assert "rootfs/etc/says" in listed
    read = subprocess.check_output(["tar", "-xOf", place / "it.aci", "manifest"], text=True)
    assert read == '{"acKind": "ImageManifest"}'
    assert subprocess.check_output(["unsquashfs", "-cat", place / "it.squash", "etc/says"], text=True).startswith("one")
    top = subprocess.check_output(["unsquashfs", "-lls", place / "it.squash"], text=True).splitlines()[0].split()
    assert (top[0], top[1]) == ("drwxr-xr-x", "root/root")
    first = [(place / name).read_bytes() for name in ("it.squash", "it.aci")]
    done(place, *words, ACI_MANIFEST="manifest.json", DIB_WORD="one", OVERWRITE_OLD_IMAGE="1")
    assert [(place / name).read_bytes() for name in ("it.squash", "it.aci")] == first


def test_the_commands_under_their_own_names(place: Path, elements: Path) -> None:
    folder = place / "bin"
    said = done(place, "launchers", str(folder)).stdout.split()
    assert said == [str(folder / name) for name in ("disk-image-create", "ramdisk-image-create", "diskimage-builder")]
    done(place, "launchers", str(folder))  # its own it replaces
    command = [str(folder / "disk-image-create"), "-n", "-t", "tar", "-o", "own", "tiny-os", "says"]
    environment = {"ELEMENTS_PATH": f"{ELEMENTS}:{elements}", "DIB_CTR_STORE": STORE, "DIB_WORD": "w", "MY_OWN": "m"}
    subprocess.run(command, cwd=place, env={**os.environ, **environment}, check=True, capture_output=True)
    assert (place / "own.tar").is_file()
    (folder / "diskimage-builder").write_text("#!/bin/sh\n")
    refused = run(place, "launchers", str(folder))
    assert refused.returncode == 2
    assert "not a launcher of dib-ctr" in refused.stderr


def test_a_failed_build_leaves_what_was_there(place: Path, elements: Path) -> None:
    done(place, "disk-image-create", "-n", "-t", "tar", "-o", "it", "tiny-os", "says", DIB_WORD="one")
    before = names(place)
    write_element(elements, "fails", {"install.d/50-fails": script("exit 3")})
    outcome = run(place, "disk-image-create", "-n", "-t", "tar", "-o", "it", "tiny-os", "says", "fails", DIB_WORD="x")
    assert outcome.returncode == 1
    assert names(place) == before
    assert said(place, "it.tar").startswith("one")


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_log_file_and_statuses(place: Path, elements: Path) -> None:
    outcome = done(place, "disk-image-create", "-n", "-t", "tar", "--logfile", "log", "tiny-os")
    assert outcome.stdout + outcome.stderr == ""
    assert "image.tar" in (place / "log").read_text()
    assert run(place, "disk-image-create").returncode == 1
    assert run(place, "disk-image-create", "--no-such-option", "tiny-os").returncode == 1
    assert run(place, "disk-image-create", "-t", "floppy", "tiny-os").returncode == 1
    assert run(place, "disk-image-create", "-t", "tar", "no-such-element").returncode == 1
    assert done(place, "disk-image-create", "-n", "-t", "tar", "tiny-os", DIB_QUIET="1").stdout == ""


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_docker_images_are_loaded(place: Path, elements: Path) -> None:
    done(place, "disk-image-create", "-n", "-t", "docker", "--docker-target", "dib-ctr-test/it:1", "tiny-os")
    try:
        shown = subprocess.run(["podman", "image", "exists", "dib-ctr-test/it:1"], check=False)
        assert shown.returncode == 0
        assert names(place) == set()
    finally:
        subprocess.run(["podman", "rmi", "--force", "dib-ctr-test/it:1"], capture_output=True, check=False)


IMAGES = """
- imagename: a
  types: [tar]
  skip-base: true
  environment: {DIB_WORD: for-a}
  elements: [tiny-os, says]
- imagename: b
  types: [tar]
  skip-base: true
  environment: {DIB_WORD: for-b}
  elements: [tiny-os, says]
- imagename: wrong
  types: [tar]
  elements: [no-such-element]
"""


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_files_of_images(place: Path, elements: Path) -> None:
    """All are tried, what they have in common is built once, and the one that fails is named."""
    (place / "images.yaml").write_text(IMAGES)
    (place / "builder").mkdir()  # not ours
    (place / "builder/cli.py").write_text("raise SystemExit(9)")
    dry = done(place, "diskimage-builder", "--dry-run", "images.yaml")
    assert "DIB_WORD=for-a disk-image-create -o a -t tar -n tiny-os says" in dry.stderr
    assert names(place) == {"images.yaml"}
    outcome = run(place, "diskimage-builder", "images.yaml")
    assert outcome.returncode == 1
    assert "built: a, b\n" in outcome.stderr
    assert "1 of 3 images failed: wrong" in outcome.stderr
    assert (said(place, "a.tar").split()[0], said(place, "b.tar").split()[0]) == ("for-a", "for-b")
    assert "b: tar: " in outcome.stdout
    (place / "bad.yaml").write_text("- imagename: a\n  colour: red\n")
    refused = run(place, "diskimage-builder", "bad.yaml")
    assert refused.returncode == 2
    assert "bad.yaml:2" in refused.stderr
