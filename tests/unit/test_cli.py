"""The command line refuses what is wrong before it works, and says what was meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.cli import main
from builder.request.option_values import build_command, options_of, shell_command
from builder.request.store_size import bytes_of
from stages.redaction.redaction import Redaction

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in an empty folder: a checkout may have an image of its own."""
    command = [sys.executable, "-m", "builder.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("bild",), "build"),
        (("build",), "no element is named"),
        (("build", "--ouput", "oci", "debian-minimal"), "--output"),
        (("build", "--engine", "hst", "debian-minimal"), "'host'"),
        (("build", "debian-minmal"), "did you mean 'debian-minimal'?"),
        (("build", "-o", "oic", "debian-minimal"), "did you mean 'oci'?"),
        (("build", "--arch", "amd46", "debian-minimal"), "did you mean 'amd64'?"),
        (("build", "vm"), "debian-minimal"),
        (("build", "debian-minimal", "ubuntu-minimal"), "debian-minimal and ubuntu-minimal"),
        (("build", "--engine", "host", "--load", "debian-minimal"), "--engine podman"),
        (("plan", "-o", "tar,compress=gzp", "debian-minimal"), "gzip"),
        (("elements", "debian-minmal"), "did you mean 'debian-minimal'?"),
        (("doctor", "dokcer"), "docker"),
        (("help", "bild"), "build"),
        (("build", "--nmae", "x", "debian-minimal"), "--name"),
        (("build", "-o", "type=oic", "debian-minimal"), "did you mean 'oci'?"),
        (
            ("build", "--report", "/dev/null/x", "debian-minimal"),
            "/dev/null is not a folder you may write to",
        ),
        (("build", "--junit", "/etc", "debian-minimal"), "is a directory"),
        (("build", "--lock", "/dev/null/x", "debian-minimal"), "/dev/null is not a folder you may write to"),
        (("build", "-o", "iso", "debian-minimal"), "there is: dir, docker-archive"),
        (("build", "--image-size", "5", "debian-minimal"), "--image-size is about a disk"),
        (("build", "--block-device", "x.yaml", "-o", "tar", "debian-minimal"), "--block-device is about a disk"),
        (("plan", "--root-fs", "xfs", "-o", "oci,tag=a", "debian-minimal"), "--root-fs is about a disk"),
        (("build", "./debian-minmal"), "there is no element ./debian-minmal"),
        (("cache", "prune", "--engine", "host", "--max-size", "many"), "500M"),
    ],
)
def test_bad_usage_ends_with_2_and_names_what_was_meant(arguments: tuple[str, ...], named: str, tmp_path: Path) -> None:
    done = run(*arguments, XDG_CACHE_HOME=str(tmp_path / "cache"), DIB_CTR_STORE=str(tmp_path / "store"))
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("  next:  "), done.stderr
    assert any(line.startswith("error: ") for line in done.stderr.splitlines())
    assert done.stdout == ""


def test_debug_shows_where_an_error_came_from() -> None:
    done = run("build", "--debug", "debian-minmal")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "did you mean" in done.stderr


@pytest.mark.parametrize("command", ["", "build", "plan", "shell", "elements", "cache", "cache prune", "doctor"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert "Usage: dib-ctr" in capsys.readouterr().out


def test_elements_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["elements"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "Debian" in lines["debian-minimal"]
    assert all(lines.values())


def test_an_element_is_described_with_what_it_hides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "vm"
    (own / "install.d").mkdir(parents=True)
    (own / "install.d/50-mine").write_text("#!/bin/sh\n")
    (own / "install.d/50-mine").chmod(0o755)
    (own / "element-deps").write_text("base\n")
    (own / "README.md").write_text("# vm\n\nMine. It reads `DIB_MINE`.\n\nMore.\n")
    assert main(["elements", "--elements-path", str(tmp_path), "--json", "vm"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(own)
    assert found["origin"] == "elements path"
    assert found["instead of"] == [str(ROOT / "stages/elements/vm")]
    assert found["description"] == "Mine."
    assert found["needs"] == ["base"]
    assert found["scripts"] == {"install": ["50-mine"]}
    assert found["variables"] == ["DIB_MINE"]


def test_the_way_back_has_the_users_own_options() -> None:
    options = {
        "engine": "host",
        "store": None,
        "name": "",
        "arch": "arm64",
        "release": "trixie",
        "elements_path": "a:b",
        "offline": True,
        "settings": ("A=b c",),
        "packages": ("vim,less",),
        "elements": ("vm", "debian-minimal"),
    }
    words = [
        "--engine",
        "host",
        "--arch",
        "arm64",
        "--release",
        "trixie",
        "--elements-path",
        "a:b",
        "--offline",
        "--set",
    ]
    assert shell_command(options_of(options)) == [
        "dib-ctr",
        "shell",
        *words,
        "A=b c",
        "-p",
        "vim,less",
        "vm",
        "debian-minimal",
    ]


def test_the_way_to_the_same_build_names_secrets_and_tells_none() -> None:
    asked = options_of({"settings": ("TOKEN=hunter2", "A=1"), "elements": ("vm",), "outputs": ("qcow2",), "jobs": None})
    shown = replace(asked, shown=replace(asked.shown, report=(Path("r.html"),), progress="plain"))
    words = build_command(shown, Redaction.of({"TOKEN": "hunter2", "A": "1"}))
    assert words[:2] == ["dib-ctr", "build"]
    assert sorted(words[2:-1]) == ["--secret", "--set", "-o", "A=1", "TOKEN", "qcow2"]
    assert words[-1] == "vm"


def test_sizes_have_units() -> None:
    assert [bytes_of(text) for text in ("5", "500M", "1.5g", "2TB")] == [5, 500_000_000, 1_500_000_000, 2 * 10**12]
    for wrong in ("", "M", "5X", "5MiB", "-"):
        with pytest.raises(UsageError):
            bytes_of(wrong)


def test_what_a_rebuild_does_not_need_is_not_imported() -> None:
    text = (
        "import sys; from builder import cli, engines; from builder.build import run; from builder.engines import "
        "host; from builder.build_image import ensure; from builder.request import prepare; "
        "from builder.build import records; from builder.commands import build, images_file; "
        "print(*{'rich', 'yaml', 'jinja2', 'squarify', 'builder.html_report', "
        "'python_on_whales', 'docker', 'podman', 'requests', 'importlib.metadata'} "
        "& set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
