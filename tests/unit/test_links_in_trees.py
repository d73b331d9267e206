"""What the agent opens in folders that scripts made never follows a link out of them, at whatever component it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockdev.core.rooted_path import inside, is_regular
from blockdev.tree.selinux import policy_of
from stages.element.hooks import HookFile
from stages.layers.hooks_folder import add_earlier, write_hooks
from stages.layers.resolver import resolving
from stages.sandbox.mounts import remove_stand_ins
from stages.tree.installed_packages import identities

TARGETS = ("{outside}", "../{name}", "/../../{outside}", "../../../../../../../../{outside}")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may touch, with what a tree could have."""
    folder = tmp_path / "outside"
    for path in ("etc", "dev", "apt", "var/lib/dpkg", "var/log", "selinux/targeted/contexts/files"):
        (folder / path).mkdir(parents=True)
    for path in ("resolv.conf", "etc/resolv.conf", "null", "dev/null", "var/lib/dpkg/status", "file"):
        (folder / path).touch()
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "link", ["etc", "dev", "etc/resolv.conf", "dev/null", "var", "var/lib", "var/log", "etc/selinux"]
)
def test_links_in_a_tree_lead_nowhere(tmp_path: Path, outside: Path, link: str, target: str) -> None:
    tree = tmp_path / "tree"
    (tree / link).parent.mkdir(parents=True)
    (tree / link).symlink_to(target.format(outside=outside, name=outside.name))
    before = state(outside)
    with resolving(tree, b"nameserver 192.0.2.1\n", also_missing=True):
        assert state(outside) == before
    remove_stand_ins(tree / "dev")
    assert identities(tree) == set()
    assert policy_of(tree) is None
    assert state(outside) == before


def test_a_link_that_a_script_makes_meanwhile_is_not_followed(tmp_path: Path, outside: Path) -> None:
    """The tree's resolv.conf is emptied in the end; by then it may lead to one that has the same content."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/resolv.conf").touch()
    (outside / "etc/resolv.conf").write_bytes(b"same")
    with resolving(tree, b"same"):
        (tree / "etc/resolv.conf").unlink()
        (tree / "etc").rmdir()
        (tree / "etc").symlink_to(outside / "etc")
    assert (outside / "etc/resolv.conf").read_bytes() == b"same"


def test_what_earlier_scripts_wrote_does_not_go_through_an_elements_link(tmp_path: Path, outside: Path) -> None:
    earlier = tmp_path / "earlier"
    (earlier / "static/more").mkdir(parents=True)
    (earlier / "static/more/file").write_text("attack")
    link = HookFile("static/more", "mine", 0o644, target=str(outside))
    before = state(outside)
    folder = write_hooks({"static/more": link}, tmp_path / "hooks")
    add_earlier(earlier, folder)
    assert state(outside) == before
    assert (folder / "static/more/file").read_text() == "attack"
    below = HookFile("static/more/file", "other", 0o644, b"mine")
    folder = write_hooks({"static/more": link, "static/more/file": below}, tmp_path / "more-hooks")
    assert state(outside) == before
    assert (folder / "static/more/file").read_bytes() == b"mine"


def test_a_pipe_is_no_file_to_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_regular(tmp_path / "pipe")
    assert not is_regular(inside(tmp_path, "none"))
    assert not is_regular(None)
