"""Bits that flip in the store: no image has them, what fails is made again, and ``cache verify`` finds each."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, Outcome, script, write_element

NUMBERS = "seq 300000"  # two megabytes: a layer whose digests another process makes
WANTED = ("--no-documents", "tiny-os", "some")


@pytest.fixture
def command(place: Path) -> Command:
    own = place / "elements"
    below = script('cd "$TARGET_ROOT"', f"{NUMBERS} > opt-numbers", "echo small > opt-small")
    above = script('cd "$TARGET_ROOT"', "sha256sum < opt-numbers > opt-sum; mkdir many; touch many/{1..99}")
    outside = script('echo kernel > vmlinuz; echo hook > "$TMP_HOOKS_PATH/message"')
    hooks = {"extra-data.d/60-numbers": below, "extra-data.d/70-sum": above, "cleanup.d/80-outside": outside}
    write_element(own, "some", hooks)
    return Command("host", place / "store", place / "out", (own, ELEMENTS))


def flip(file: Path, place: int) -> None:
    """One bit, with size and time as before: a bad disk."""
    was = file.stat()
    with file.open("r+b") as data:
        data.seek(place)
        byte = data.read(1)[0]
        data.seek(place)
        data.write(bytes([byte ^ 1]))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))


def files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size
    )


def layers(store: Path) -> set[str]:
    """The layers that records name."""
    return {json.loads(record.read_text())["layer"] for record in (store / "keys").glob("*.json")}


def layer_file(store: Path, name: str) -> Path:
    (found,) = [path for layer in layers(store) for path in (store / "layers" / layer).glob(f"tree/{name}")]
    return found


def notes(outcome: Outcome) -> str:
    return "\n".join(event["text"] for event in outcome.events if event["type"] == "note")


def numbers(tar: Path) -> bytes:
    return subprocess.run(["tar", "-xOf", tar, "opt-numbers"], capture_output=True, check=True).stdout


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_no_image_has_a_flipped_bit_of_a_layer(command: Command) -> None:
    clean = command.build("-o", "oci", *WANTED).digest()
    right = subprocess.run(NUMBERS.split(), capture_output=True, check=True).stdout
    flip(layer_file(command.store, "opt-numbers"), 1_000_000)
    outcome = command.build("-o", "tar", "-o", "oci,compress=zstd", *WANTED)
    assert "the layer of extra-data/some/60-numbers: 1 file differs: /opt-numbers; it is made again" in notes(outcome)
    assert outcome.titles("start") == ["60-numbers", "70-sum", "80-outside", "seal-tree"]
    assert numbers(next(command.destination.glob("*.tar"))) == right
    assert command("cache", "verify").status == 0
    assert command.build("-o", "oci", *WANTED).digest() == clean
    assert notes(command.build("-o", "docker-archive", *WANTED)) == "", "once was enough"


def test_a_flipped_bit_below_a_stage_that_runs_is_found_though_the_stage_read_it(command: Command) -> None:
    command.build("-o", "tar", *WANTED)
    flip(layer_file(command.store, "opt-small"), 2)
    tail = {"cleanup.d/90-more": script('mv "$TARGET_ROOT/opt-small" "$TARGET_ROOT/opt-moved"')}
    write_element(command.elements[0], "tail", tail)
    outcome = command.build("-o", "tar", *WANTED, "tail")
    tar = next(command.destination.glob("*.tar"))
    assert subprocess.run(["tar", "-xOf", tar, "opt-moved"], capture_output=True).stdout == b"small\n"
    assert "/opt-small" in notes(outcome)


@pytest.mark.thorough("a build for each bit; `just test` has two")
def test_verify_finds_each_flipped_bit_wherever_it_is_and_lets_go_of_it(command: Command) -> None:
    clean = command.build("-o", "oci", *WANTED).digest()
    assert command("cache", "verify").status == 0
    chosen = random.Random(1)
    for part in ("layers", "digests", "keys", "blocks"):
        for _ in range(2):
            choice = files(command.store / part)
            if part in ("layers", "digests"):  # those of no record are left over, and nobody takes them
                known = layers(command.store)
                choice = [path for path in choice if path.relative_to(command.store / part).parts[0] in known]
            file = chosen.choice(choice)
            flip(file, chosen.randrange(file.stat().st_size))
            found = command("cache", "verify")
            assert found.status == 1, (file, found.stdout)
            assert "Traceback" not in found.stderr
            assert command("cache", "verify").status == 0, "what is let go of is no longer wrong"
            subprocess.run(["rm", "-rf", command.destination], check=True)
            assert command.build("-o", "oci", *WANTED).digest() == clean, file
