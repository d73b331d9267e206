"""Building an image again from its provenance, and images of several architectures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, Outcome, script, write_element


@pytest.fixture
def command(place: Path) -> Command:
    (place / "elements").mkdir()
    return Command("host", place / "store", place / "out", (ELEMENTS, place / "elements"))


def verify(command: Command, *arguments: str) -> Outcome:
    words = ["verify", "--engine", "host", "--store", str(command.store)]
    words += ["--elements-path", ":".join(map(str, command.elements)), *arguments]
    done = subprocess.run([sys.executable, "-m", "builder.cli", *words], capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_the_same_comes_out_again(command: Command, place: Path) -> None:
    (place / "mine.yaml").write_text("leftover: {drop: [/etc/greeting-extra]}\n")
    write_element(
        place / "elements",
        "more",
        {
            "install.d/50-more": script("echo ${DIB_MORE:-} > /etc/more; echo > /etc/greeting-extra"),
            "image-config.yaml": "env: {A: b}\n",
        },
    )
    for arguments in (
        ("--set", "DIB_MORE=yes please", "--name", "renamed", "tiny-os", "more"),
        ("-o", "oci,layers=stages,compress=zstd,tag=1.0,dest=" + str(place / "out/other.oci"), "tiny-os", "more"),
        ("--slim", str(place / "mine.yaml"), "--name", "own-policy", "tiny-os", "more"),
        ("-o", "oci-archive", "tiny-os"),
    ):
        command.build(*arguments)
    (place / "mine.yaml").unlink()  # what was asked for is in the provenance
    for name in ("renamed.oci", "other.oci", "own-policy.oci", "tiny-os.oci.tar"):
        outcome = verify(command, str(command.destination / name))
        assert outcome.status == 0, outcome.stderr
        assert "is what its elements give" in outcome.stdout
    assert not list(command.destination.glob("*rebuilt*"))


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_the_first_file_that_differs_is_named_and_what_moved(command: Command, place: Path) -> None:
    element = write_element(
        place / "elements", "varies", {"install.d/50-varies": script("cat /proc/sys/kernel/random/uuid > /etc/random")}
    )
    command.build("--name", "varies", "tiny-os", "varies")
    outcome = verify(command, str(command.destination / "varies.oci"))
    assert outcome.status == 1
    assert "/etc/random: content" in outcome.stderr
    assert "element" not in outcome.stderr.partition("where:")[0].partition("first difference")[2]
    (element / "install.d/50-varies").write_text(script("echo otherwise > /etc/random"))
    (element / "install.d/50-varies").chmod(0o755)
    outcome = verify(command, str(command.destination / "varies.oci"))
    assert outcome.status == 1
    assert "varies: was" in outcome.stderr


def test_what_cannot_be_verified_is_refused(command: Command, place: Path) -> None:
    command.build("--no-documents", "tiny-os")
    image = command.destination / "tiny-os.oci"
    outcome = verify(command, str(image))
    assert outcome.status == 2
    assert "has no provenance" in outcome.stderr
    command.build("--set", "DIB_SOME_PASSWORD=secret", "--name", "secret", "tiny-os")
    text = (command.destination / "secret.oci.provenance.json").read_text()
    assert "secret" not in text.replace("secret.oci", "").replace('"name":"secret"', "")
    outcome = verify(command, str(command.destination / "secret.oci"))
    assert outcome.status == 2
    assert "--set DIB_SOME_PASSWORD=VALUE" in outcome.stderr
    again = verify(command, "--set", "DIB_SOME_PASSWORD=secret", str(command.destination / "secret.oci"))
    assert again.status == 0, again.stderr
    shutil.copy(command.destination / "secret.oci.provenance.json", f"{image}.provenance.json")
    assert "is about another image" in verify(command, str(image)).stderr
    (place / "out/tiny-os.oci.provenance.json").write_text("{}")
    assert "no provenance of an image" in verify(command, str(image)).stderr
    assert verify(command, str(place / "nowhere")).status == 2


# -- several architectures


def test_architectures_that_cannot_be_are_refused(command: Command) -> None:
    for arches, word in (("amd64,amd64", "twice"), ("amd64,x86_64", "twice"), ("amd64,", "none"), ("amd64,vax", "vax")):
        outcome = command("build", "--arch", arches, "tiny-os")
        assert outcome.status == 2
        assert word in outcome.stderr
    outcome = command("build", "--arch", "amd64,arm64", "-o", "tar,dest=/tmp/x.tar", "tiny-os")
    assert "one file for each architecture" in outcome.stderr
    assert "one architecture" in command("build", "--arch", "amd64,arm64", "--load", "tiny-os").stderr
