"""Policies and patterns: what an image leaves out, decided from paths alone, and what a policy comes to for a tree."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.outputs.formats.tree_tar import write_changes, write_contents, write_tree
from stages.outputs.slim import policy
from stages.outputs.slim.changes import Finish, finish
from stages.outputs.slim.patterns import Selection

FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
EPOCH = 1_700_000_000

DOCS = Selection(("/usr/share/doc/**", "**/__pycache__/**"), ("/usr/share/doc/*/copyright", "/usr/share/doc/*@"))


@pytest.mark.parametrize(
    ("name", "mode", "dropped"),
    [
        ("usr/share/doc", FOLDER, False),
        ("usr/share/doc/apt", FOLDER, True),
        ("usr/share/doc/apt/changelog.gz", FILE, True),
        ("usr/share/doc/apt/copyright", FILE, False),
        ("usr/share/doc/apt/examples/copyright", FILE, True),
        ("usr/share/doc/libgcc-s1", LINK, False),
        ("usr/share/doc/libgcc-s1", FILE, True),
        ("usr/share/docs/x", FILE, False),
        ("usr/lib/python3/__pycache__/a.pyc", FILE, True),
        ("srv/usr/share/doc/x", FILE, False),
    ],
)
def test_a_pattern_means_whole_paths(name: str, mode: int, dropped: bool) -> None:
    assert DOCS.drops(name.encode(), mode) is dropped


def test_one_star_stays_in_its_folder_and_special_characters_mean_themselves() -> None:
    selection = Selection(("/etc/*.conf", "/var/log/[ab]?", "/a+b(c)", "/only/folders/", "/x/[!y]z"))
    names = ["etc/a.conf", "etc/a/b.conf", "var/log/a1", "var/log/c1", "a+b(c)", "aab(c)", "etc/aXconf", "x/az", "x/yz"]
    assert [name for name in names if selection.drops(name.encode(), FILE)] == [
        "etc/a.conf",
        "var/log/a1",
        "a+b(c)",
        "x/az",
    ]
    assert selection.drops(b"only/folders", FOLDER)
    assert not selection.drops(b"only/folders", FILE)


def test_the_way_to_what_is_kept_is_known() -> None:
    assert DOCS.leads_to_kept(b"usr/share/doc/apt")
    assert DOCS.leads_to_kept(b"usr/share")
    assert not DOCS.leads_to_kept(b"usr/share/doc/apt/examples")
    assert Selection(("/a/**",), ("/a/b/**/",)).leads_to_kept(b"a/b/c/d")


def test_nothing_is_left_out_by_default() -> None:
    assert not Selection().drops(b"usr/share/doc/apt/changelog.gz", FILE)


# -- policies


@pytest.mark.parametrize("name", policy.names())
def test_each_policy_of_ours_is_sound(name: str) -> None:
    found = policy.parse(policy.text_of(name), name, name)
    selection = Selection(found.drop, found.keep)
    assert selection.drops(b"var/log/install.log", FILE)
    assert selection.drops(b"etc/ssh/ssh_host_ed25519_key", FILE)
    assert selection.drops(b"usr/lib/python3/x/__pycache__", FOLDER)
    assert not selection.drops(b"var/log/nginx/deeper", FOLDER)
    for kept in ("usr/share/common-licenses/GPL-3", "usr/share/licenses/x/COPYING", "bin/sh", "etc/passwd"):
        assert not selection.drops(kept.encode(), FILE)
    assert "/etc/machine-id" in found.empty


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "debian"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "redhat"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "suse"),
        ({"ID": "alpine"}, "alpine"),
        ({"ID": "arch"}, "arch"),
        ({"ID": "gentoo"}, "gentoo"),
        ({"ID": "plan9"}, "other"),
        ({}, "other"),
    ],
)
def test_the_distribution_chooses_its_policy(release: dict[str, str], name: str) -> None:
    assert policy.find(release).name == name


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("", "is empty", 1),
        ("families: [debian\n", "no YAML", 2),
        ("families: []\npackagd: {}\n", "'packagd'", 2),
        ("packaged:\n  drop:\n    - usr/share/doc\n", "'usr/share/doc' is no pattern", 3),
        ("packaged:\n  drop: /usr\n", "drop is no list", 2),
        ("leftover:\n  empt: []\n", "'empt'", 2),
        ("files:\n  etc/x: a\n", "'etc/x' is no path", 2),
        ("files:\n  /etc/../x: a\n", "no path", 2),
        ("files:\n  /etc/x: [a]\n", "no text", 2),
        ("leftover: {}\nleftover: {}\n", "'leftover' is there twice", 2),
        ("- a\n", "no mapping", 1),
        ("families: 3\n", "no list of names", 1),
    ],
)
def test_a_wrong_policy_is_refused_with_file_and_line(text: str, what: str, line: int) -> None:
    with pytest.raises(UsageError) as raised:
        policy.parse(text, "mine", "mine.yaml")
    assert what in raised.value.what
    assert raised.value.where == f"mine.yaml:{line}"


def test_a_policy_is_named_or_a_file(tmp_path: Path) -> None:
    assert policy.read("debian") == policy.text_of("debian")
    file = tmp_path / "own.yaml"
    file.write_text("leftover: {drop: [/opt/**]}\n")
    assert policy.read(str(file)) == file.read_text()
    with pytest.raises(UsageError, match="no slim policy 'debain'"):
        policy.read("debain")
    with pytest.raises(UsageError, match="cannot be read"):
        policy.read(str(tmp_path))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text"):
        policy.read(str(file))


def test_dpkg_gets_the_same_rules() -> None:
    rules = policy.parse(policy.text_of("debian"), "debian", "debian").files["/etc/dpkg/dpkg.cfg.d/90-slim"]
    assert "path-exclude=/usr/share/doc/*\n" in rules
    assert "path-include=/usr/share/doc/*/copyright\n" in rules
    assert "@" not in rules


# -- what a policy comes to for a tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with documentation, logs, a link out of it and a file with two names."""
    root = tmp_path / "tree"
    for path, text in {
        "usr/share/doc/apt/copyright": "GPL",
        "usr/share/doc/apt/changelog": "long",
        "usr/share/doc/apt/examples/one": "1",
        "usr/share/doc/bare/README": "x",
        "usr/bin/apt": "ELF",
        "var/log/app/app.log": "noise",
        "var/log/wtmp": "logins",
        "etc/machine-id": "0123456789abcdef",
        "etc/dnf/dnf.conf": "[main]",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "usr/share/doc/shared").symlink_to("apt")
    os.link(root / "usr/share/doc/apt/changelog", root / "usr/bin/changelog")
    (root / "escape").symlink_to(tmp_path)
    return root


def packed(root: Path, changed: Finish) -> dict[str, bytes | None]:
    buffer = io.BytesIO()
    write_tree(root, buffer, epoch=EPOCH, finish=changed)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        found = {}
        for member in archive:
            data = archive.extractfile(member) if member.isreg() else None
            found[member.name] = data.read() if data else None
        return found


POLICY = policy.parse(
    """
packaged: {drop: [/usr/share/doc/**], keep: [/usr/share/doc/*/copyright, /usr/share/doc/*@]}
leftover: {drop: [/var/log/**], keep: [/var/log/**/, /var/log/wtmp], empty: [/etc/machine-id, /var/log/**]}
files: {/etc/slim.conf: "yes\\n", /escape/own: "out", /usr/new/deep/file: "x"}
append: {/etc/dnf/dnf.conf: "nodocs\\n", /etc/missing: "x"}
""",
    "test",
    "test",
)


def test_an_output_is_the_tree_less_what_the_policy_drops(tree: Path) -> None:
    found = packed(tree, finish(tree, POLICY, {"/usr/share/dib-ctr/manifest.json": b"{}"}))
    assert found["usr/share/doc/apt/copyright"] == b"GPL"
    gone = ["usr/share/doc/apt/changelog", "usr/share/doc/apt/examples", "usr/share/doc/bare", "var/log/app/app.log"]
    assert not [name for name in gone if name in found]
    assert {"usr/share/doc/apt", "usr/share/doc/shared", "usr/bin/apt", "var/log/app"} <= set(found)
    assert found["usr/bin/changelog"] == b"long"  # the name that stays of a hard link is the file
    assert found["etc/machine-id"] == b""
    assert found["var/log/wtmp"] == b""
    assert found["etc/slim.conf"] == b"yes\n"
    assert found["etc/dnf/dnf.conf"] == b"[main]\nnodocs\n"
    assert found["usr/new/deep/file"] == b"x"
    assert found["usr/share/dib-ctr/manifest.json"] == b"{}"
    assert "etc/missing" not in found
    assert "escape/own" not in found
    assert not (tree.parent / "own").exists()
    assert list(found) == sorted(found, key=str.encode)
    assert (tree / "etc/machine-id").read_text() == "0123456789abcdef"


def test_files_are_emptied_wherever_they_are_but_not_outside(tree: Path) -> None:
    (tree.parent / "wtmp").write_text("somebody else's")
    (tree / "var/out").symlink_to(tree.parent)
    policy_ = policy.parse("leftover: {empty: ['**/wtmp', /var/out/*, '/etc/machine-*']}\n", "x", "x")
    assert set(finish(tree, policy_, {}).contents) == {b"var/log/wtmp", b"etc/machine-id"}


def test_appending_twice_is_appending_once(tree: Path) -> None:
    (tree / "etc/dnf/dnf.conf").write_text("[main]\nnodocs\n")
    assert b"etc/dnf/dnf.conf" not in finish(tree, POLICY, {}).contents


def test_layers_and_their_last_one_are_the_squashed_tree(tree: Path) -> None:
    changed = finish(tree, POLICY, {})
    squashed = packed(tree, changed)
    found: dict[str, bytes | None] = {}
    for write in (
        lambda out: write_changes(tree, out, epoch=EPOCH, finish=changed),
        lambda out: write_contents(tree, out, epoch=EPOCH, finish=changed),
    ):
        buffer = io.BytesIO()
        write(buffer)  # type: ignore[no-untyped-call]
        buffer.seek(0)
        with tarfile.open(fileobj=buffer) as archive:
            for member in archive:
                data = archive.extractfile(member) if member.isreg() else None
                found[member.name] = data.read() if data else None
    assert found == squashed
