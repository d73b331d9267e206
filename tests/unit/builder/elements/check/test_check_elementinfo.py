"""What element-info prints: a set of elements as names, and as text that bash takes back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from blockdev.core.errors import UsageError
from builder.commands.elements import elements as command


def write(folder: Path) -> None:
    for name, files in {
        "os": {"element-provides": "operating-system\n"},
        "vm": {"element-deps": "disk\nextra\n"},
        "mbr": {"element-provides": "disk\n"},
        "extra": {},
    }.items():
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(text, encoding="utf-8")


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [f"--elements-path={folder}", "--format=element-info", *arguments])


def test_names(tmp_path: Path) -> None:
    write(tmp_path)
    assert run(tmp_path, "os", "vm", "mbr").output == "extra mbr os vm\n"


@pytest.mark.parametrize("folder", ["plain", "it's odd"])
def test_bash_takes_it_back(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    write(place)
    text = run(place, "--env", "os", "vm", "mbr").output
    script = f"""{text}
    eval "declare -A found=($(bash -c get_image_element_array))"
    for name in "${{!found[@]}}"; do echo "$name=${{found[$name]}}"; done | sort
    echo "$IMAGE_ELEMENT"
    echo "$IMAGE_ELEMENT_YAML"
    """
    done = subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    names = ["extra", "mbr", "os", "vm"]
    assert lines[:4] == [f"{name}={place}/{name}" for name in names]
    assert lines[4] == " ".join(names)
    assert yaml.safe_load("\n".join(lines[5:])) == {name: f"{place}/{name}" for name in names}


def test_a_set_without_operating_system_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    assert isinstance(run(tmp_path, "vm", "mbr").exception, UsageError)
