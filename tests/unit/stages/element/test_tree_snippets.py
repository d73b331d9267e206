"""Which snippets of environment.d look at the root that they are sourced in, and which variables hang on that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stages.element.environment import parse_capture, snippets
from stages.element.hooks import HookFile, merge
from stages.element.resolve import BUILTIN, find_elements
from stages.element.tree_snippets import MARK, argv, looks, sourcing

LOOKING = [
    "export A=$(. /etc/os-release && echo $ID)",
    ". /etc/os-release\nexport ID",
    "source /usr/lib/os-release",
    "export A=`cat /etc/debian_version`",
    "if [ -f /etc/redhat-release ]; then export A=1; fi",
    "[[ -e /usr/local/bin/dib-python ]] && export A=1",
    "file=/etc/os-release\n. $file\n",
    'file=/etc/os-release\nread -r A < "$file"\n',
    "export A=$(lsb_release -cs)",
    "export A=$(rpm -E %fedora)",
    "if command -v dnf > /dev/null; then export YUM=dnf; fi",
    "if which dnf; then export YUM=dnf; fi",
    "export A=$(python3 --version)",
    "for f in /etc/apt/sources.list.d/*; do export A=$f; done",
    "while read -r l; do export A=$l; done < /etc/issue",
    "export A=$(\\\n  cat /etc/issue)",
]
PLAIN = [
    "export A=/etc/ssl/certs",
    'export A="${A:-/usr/share/keyrings/debian.gpg}"',
    ': "${A:=/opt/stack}"',
    "# . /etc/os-release\nexport A=1",
    "export A=1 # as in /etc/os-release",
    "export DIB_URL=http://host/etc/os-release",
    "export A=$B/etc/os-release",
    'echo "set A in /etc/default/it" >&2\nexit 1',
    "export A=$(uname -m)",
    "export A=rpm",
    "case $DISTRO_NAME in debian) export A=dpkg ;; esac",
    "",
]


@pytest.mark.parametrize("text", LOOKING)
def test_a_look_at_the_root_is_seen(text: str) -> None:
    assert looks(text)


@pytest.mark.parametrize("text", PLAIN)
def test_a_path_as_a_value_is_no_look(text: str) -> None:
    assert not looks(text)


def hook(name: str, text: str, element: str = "a") -> HookFile:
    return HookFile(f"environment.d/{name}", element, 0o644, text.encode())


def test_what_a_look_sets_hangs_on_the_root_and_so_does_what_uses_that() -> None:
    found = sourcing(
        [
            hook("10-a", "export FREE=1\n"),
            hook(
                "20-b",
                "if lsb_release; then export VENDOR=x${FREE}; fi\nread -r LINE\nprintf -v OTHER %s 1\n: ${LAST:=1}\n",
            ),
            hook("30-c", "export PLACE=http://$VENDOR/\n"),
            hook("40-d", "export FREE_TOO=$FREE\n"),
            hook("50-e", "if which dnf; then export YUM=dnf; fi\n"),
        ],
        {"X": "1"},
        {},
    )
    assert found.names == {"VENDOR", "LINE", "OTHER", "LAST", "PLACE", "YUM"}
    assert found.of_release == {"VENDOR", "LINE", "OTHER", "LAST", "PLACE"}
    assert [*found.hanging] == ["environment.d/20-b", "environment.d/30-c", "environment.d/50-e"]
    assert len(found.snippets) == 5
    assert found.initial == {"X": "1"}


def test_with_allexport_every_word_hangs() -> None:
    assert {"ID", "VERSION_ID"} <= sourcing(
        [hook("10-a", "set -a; . /etc/os-release; : $ID $VERSION_ID")], {}, {}
    ).names


def test_files_that_snippets_name_go_with_them(tmp_path: Path) -> None:
    for path, text in {
        "a/environment.d/10-a": 'source "$(dirname "${BASH_SOURCE[0]}")/../lib-of-a/functions"\n',
        "a/environment.d/20-b": "export A=$(. /etc/os-release && echo $ID)\n",
        "a/lib-of-a/functions": "true\n",
        "a/static/large": "large\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    tree = merge([("a", tmp_path / "a")])
    assert sourcing(snippets(tree), {}, tree).files.keys() == {"lib-of-a/functions"}
    (first, _) = snippets(tree)
    assert sourcing([first], {}, tree).files == {}


def test_built_in_elements_look_at_no_root() -> None:
    names = find_elements([BUILTIN])
    for name, element in names.items():
        tree = merge([(name, element.path)])
        assert sourcing(snippets(tree), {}, tree, [*names]).names == frozenset()


def test_what_is_exported_comes_after_all_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "10-a").write_text("echo hello\nexport A=1\n")
    done = subprocess.run(argv([str(tmp_path / "10-a")]), env={"PATH": "/bin"}, check=True, capture_output=True)
    said, _, exported = done.stdout.partition(MARK)
    assert said == b"hello\n"
    assert parse_capture(exported) == {"A": "1"}
    (tmp_path / "10-a").write_text("false\n")
    done = subprocess.run(argv([str(tmp_path / "10-a")]), env={"PATH": "/bin"}, check=False, capture_output=True)
    assert done.returncode == 1
    assert MARK not in done.stdout
    assert done.stderr == f"dib-ctr: {tmp_path}/10-a ended with status 1\n".encode()
