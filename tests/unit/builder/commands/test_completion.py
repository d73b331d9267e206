"""The shell offers what there is: by bash itself, with the file that ``dib-ctr completion`` writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[4]
# Has bash complete the words, as it does on tab: by the function that the file has registered.
_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p dib-ctr | sed 's/.*-F \\([^ ]*\\).*/\\1/')
compopt() { :; }
"$function" dib-ctr "${@: -1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's home, in whose PATH there is a dib-ctr, with what completes it for bash."""
    folder = tmp_path_factory.mktemp("home")
    program = folder / "bin" / "dib-ctr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -P -m builder.cli "$@"\n')
    program.chmod(0o755)
    assert run(folder, "dib-ctr", "completion").startswith(
        f"{folder}/.local/share/bash-completion/completions/dib-ctr\n"
    )
    return folder


def run(home: Path, *words: str) -> str:
    environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "SHELL": "/bin/bash"}
    return subprocess.run(words, env=environment, cwd=home, capture_output=True, text=True, check=True).stdout


def offered(home: Path, *words: str) -> list[str]:
    file = home / ".local/share/bash-completion/completions/dib-ctr"
    return run(home, "bash", "-c", _BASH, "bash", str(file), "dib-ctr", *words).split()


@pytest.mark.parametrize(
    ("words", "among"),
    [
        (("pl",), "plan"),
        (("cache", "pr"), "prune"),
        (("help", "ver"), "verify"),
        (("build", "--elem"), "--elements-path"),
        (("build", "debian-min"), "debian-minimal"),
        (("build", "debian-minimal", "--release", "tr"), "trixie"),
        (("build", "--arch", "amd64,arm6"), "amd64,arm64"),
        (("build", "-o", "squ"), "squashfs"),
        (("build", "-o", "oci,lay"), "oci,layers=stages"),
        (("build", "--engine", "dock"), "docker-socket"),
        (("doctor", "hos"), "host"),
        (("elements", "cloud-init-d"), "cloud-init-datasources"),
    ],
)
def test_bash_offers(home: Path, words: tuple[str, ...], among: str) -> None:
    known = offered(home, *words)
    assert among in known
    assert all(word.startswith(words[-1]) for word in known)


def test_images_of_a_file_are_offered(home: Path) -> None:
    (home / "images.yaml").write_text("images: {web-one: {elements: [vm]}, db: {elements: [vm]}}\n")
    assert offered(home, "build", "-f", "images.yaml", "we") == ["web-one"]


@pytest.mark.parametrize("words", [("build", "-f", "nowhere.yaml", "x"), ("build", "--elements-path", "nowhere", "zz")])
def test_what_is_not_right_yet_offers_nothing(home: Path, words: tuple[str, ...]) -> None:
    assert offered(home, *words) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_theirs(home: Path, shell: str) -> None:
    text = run(home, "dib-ctr", "completion", shell, "--print")
    assert f"_DIB_CTR_COMPLETE={shell}_complete" in text
    assert not list(home.rglob("*.fish"))
    place = Path(run(home, "dib-ctr", "completion", shell).splitlines()[0])
    assert place.is_relative_to(home)
    assert place.read_text() == text
