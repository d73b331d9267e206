"""What the elements' environment.d makes of the variables: sourced by a real bash, as a build does."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.element.environment import as_functions, capture_argv, parse_capture, parted, snippets
from stages.element.environment_defaults import declared
from stages.element.hooks import merge
from stages.element.resolve import Element


def element(root: Path, files: Mapping[str, str]) -> list[tuple[str, Path]]:
    (root / "a/environment.d").mkdir(parents=True)
    for name, text in files.items():
        (root / "a/environment.d" / name).write_text(text)
    return [("a", root / "a")]


def captured(root: Path, files: Mapping[str, str], **initial: str) -> dict[str, str]:
    """What the snippets export, with their functions."""
    elements = element(root, files)
    paths = [str(root / "a" / hook.path) for hook in snippets(merge(elements))]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "DIB_CTR_CAPTURE": str(root / "capture"), **initial}
    subprocess.run(capture_argv(paths), env=environment, check=True, timeout=60)
    return parse_capture((root / "capture").read_bytes())


def test_only_what_is_exported_counts_and_nothing_of_the_shell(tmp_path: Path) -> None:
    found = captured(tmp_path, {"10-a": "export ONE=1\nTWO=2\nexport USER=me\n"}, DIB_X="x")
    assert found == {"ONE": "1", "DIB_X": "x"}


def test_snippets_are_sourced_in_a_function_without_arguments(tmp_path: Path) -> None:
    files = {"10-a": "local one=1\nexport A=$one$#\n", "20-b": "declare -x B=2\nexport C=${one:-gone}\n"}
    assert captured(tmp_path, files) == {"A": "10", "C": "1"}


NOT_SOURCED = ("30-c.bash~", ".30-c.bash", "30-c.bash.~1~", "30 c", "30-c#", "30-c+x")


@pytest.mark.parametrize("name", NOT_SOURCED)
def test_files_of_other_names_are_not_sourced(tmp_path: Path, name: str) -> None:
    found = captured(tmp_path, {"30-c.bash": "export C=new\n", name: "export C=old\n", "10-b": "export B=1\n"})
    assert found == {"B": "1", "C": "new"}
    folders = [Element("a", tmp_path / "a")]
    assert declared(folders, {}, ["B", "C"]) == {"B": "1", "C": "new"}


def test_exported_functions_are_kept_by_name(tmp_path: Path) -> None:
    text = 'fn-a() { echo "$ONE"; }\nown() { true; }\nexport -f fn-a\nexport ONE=1\n'
    variables, functions = parted(captured(tmp_path, {"10-a": text}))
    assert variables == {"ONE": "1"}
    assert functions.keys() == {"fn-a"}
    environment = {"PATH": "/usr/bin:/bin", **variables, **as_functions(functions)}
    done = subprocess.run(["bash", "-c", "fn-a"], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"


SYSTEM = 'export DIB_RELEASE="${DIB_RELEASE:-trixie}"\nexport SOURCES="${SOURCES:-deb $DIB_RELEASE}"\n'


def test_what_is_derived_from_the_release_follows_a_later_one(tmp_path: Path) -> None:
    found = captured(tmp_path, {"10-system": SYSTEM, "20-own": "export DIB_RELEASE=bookworm\nexport N=${N:-}1\n"})
    assert found == {"DIB_RELEASE": "bookworm", "SOURCES": "deb bookworm", "N": "1"}


@pytest.mark.parametrize("release", ["", "sid"])
def test_without_a_later_one_all_is_sourced_once(tmp_path: Path, release: str) -> None:
    asked = {"DIB_RELEASE": release} if release else {}
    found = captured(tmp_path, {"10-system": SYSTEM + f"echo >> {tmp_path}/count\n"}, **asked)
    assert found["SOURCES"] == f"deb {release or 'trixie'}"
    assert (tmp_path / "count").read_text() == "\n"


@pytest.mark.parametrize(("status", "ended"), [("0", 1), ("3", 3)])
def test_a_snippet_that_ends_the_shell_is_refused_by_name(tmp_path: Path, status: str, ended: int) -> None:
    elements = element(tmp_path, {"10-a": "export A=1\n", "20-b": f"exit {status}\n", "30-c": "export C=1\n"})
    paths = [str(tmp_path / "a" / hook.path) for hook in snippets(merge(elements))]
    environment = {"PATH": "/usr/bin:/bin", "DIB_CTR_CAPTURE": str(tmp_path / "capture")}
    done = subprocess.run(capture_argv(paths), env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, (tmp_path / "capture").exists()) == (ended, False)
    assert f"20-b ended with status {status}" in done.stderr
    assert ("return ends a snippet" in done.stderr) == (status == "0")


def test_the_snippet_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        captured(tmp_path, {"10-a": "export ONE=1\n", "20-b": ": $NOBODY_HAS_THIS\n"})
    paths = [str(tmp_path / "a/environment.d" / name) for name in ("10-a", "20-b")]
    done = subprocess.run(capture_argv(paths), check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(f"dib-ctr: {paths[1]} ended with status ")
