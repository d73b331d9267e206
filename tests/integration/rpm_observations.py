"""What shows, in a finished tree and in what the build told, that a mirror's property was there and was met rightly."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.integration.synthetic import in_tree
from tests.mirrors.rpmpitfalls import BOOTSTRAP_FAILURE, TREE_FAILURE


@dataclass(frozen=True)
class Finished:
    """A finished ``tree`` with the package EXTRA, what the build ``told``, and the mirror's folder."""

    tree: Path
    told: str
    mirror: Path

    @cached_property
    def packages(self) -> Mapping[str, str]:
        """The installed packages' versions by name."""
        lines = in_tree(self.tree, "rpm", "-qa", "--queryformat", "%{NAME} %{VERSION}\n").splitlines()
        return dict(line.rpartition(" ")[::2] for line in lines)

    def ids(self, file: str) -> dict[str, int]:
        """The numbers of the tree's users or groups by name."""
        rows = [line.split(":") for line in (self.tree / file).read_text(encoding="utf-8").splitlines()]
        return {row[0]: int(row[2]) for row in rows}

    def lists(self) -> list[str]:
        """The names of the repositories' files of lists."""
        return [file.name for file in self.mirror.glob("**/repodata/*")]


def _sole_database_format(built: Finished) -> None:
    other = ("--define", "_db_backend sqlite", "--dbpath", "/tmp/other")
    in_tree(built.tree, "bash", "-c", 'rpm "$@" --initdb || true', "bash", *other)
    made = (built.tree / "tmp/other/rpmdb.sqlite").exists()
    in_tree(built.tree, "rm", "-rf", "/tmp/other")
    assert not made, "its rpm writes another format, too"
    assert "rpm" in built.packages


def _merged_sbin(built: Finished) -> None:
    assert (built.tree / "usr/sbin").readlink() == Path("bin")
    assert in_tree(built.tree, "rpm", "-qf", "/usr/sbin").startswith("filesystem-")
    assert os.access(built.tree / "usr/bin/useradd", os.X_OK)


def _lua_pretrans(built: Finished) -> None:
    assert (built.tree / "var/lib/made-by-pretrans").is_dir()
    assert not [*(built.tree / "etc").glob("*.rpmnew")]


def _system_users(built: Finished) -> None:
    users, groups = built.ids("etc/passwd"), built.ids("etc/group")
    assert users.items() >= {"locked-user": 346, "grouped-user": 347}.items()
    assert groups["fixed-group"] == 345
    rows = {row[0]: row for row in (line.split(":") for line in _text(built, "etc/passwd").splitlines())}
    assert rows["service-user"][3:6] == [str(groups["service-user"]), "A service", "/var/lib/service"]
    assert rows["grouped-user"][3] == "345"
    members = next(line for line in _text(built, "etc/group").splitlines() if line.startswith("service-group:"))
    assert members.endswith(":service-user")
    shadow = next(line for line in _text(built, "etc/shadow").splitlines() if line.startswith("locked-user:"))
    assert shadow.split(":")[7] == "1", "a locked account has ended on the first day"
    owners = {
        "var/lib/service": (users["service-user"], groups["service-user"]),
        "var/lib/service/state": (users["service-user"], groups["service-user"]),
        "var/lib/locked/state": (346, 345),
        "var/lib/late/state": (users["late-user"], groups["late-user"]),
        "usr/bin/service-tool": (0, groups["service-group"]),
    }
    states = {path: (built.tree / path).stat() for path in owners}
    assert {path: (state.st_uid, state.st_gid) for path, state in states.items()} == owners
    assert stat.S_IMODE(states["usr/bin/service-tool"].st_mode) == 0o2755


def _text(built: Finished, path: str) -> str:
    return (built.tree / path).read_text(encoding="utf-8")


def _failing_scriptlets(built: Finished) -> None:
    for scriptlet, package in (("post", BOOTSTRAP_FAILURE), ("posttrans", TREE_FAILURE)):
        assert f"the scriptlet %{scriptlet} of {package}-" in built.told
        assert package in built.packages


def _weak_dependencies(built: Finished) -> None:
    assert len([*built.mirror.glob("**/recommended-*.rpm")]) == 2
    assert not [name for name in built.packages if name.startswith("recommended-")]


def _rich_dependencies(built: Finished) -> None:
    assert "conditional" in built.packages


def _file_dependencies(built: Finished) -> None:
    assert "by-file" in built.packages


def _module_streams(built: Finished) -> None:
    assert built.packages["stream-tool"] == "1", "the module's default stream, not the newest version"


def _zstd_lists(built: Finished) -> None:
    assert [name for name in built.lists() if name.endswith("primary.xml.zst")]


def _product(built: Finished) -> None:
    listed = "zypper --non-interactive --no-refresh products --installed-only || true"  # its mirror cannot be had
    assert re.search(r"@System +\| openSUSE +\|", in_tree(built.tree, "bash", "-c", listed))


def _dnf5(built: Finished) -> None:
    """The tree's own dnf5 has installed, and left no log, no history with its times and no packages."""
    assert (built.tree / "usr/bin/dnf").readlink() == Path("dnf5")
    assert (built.tree / "usr/lib/sysimage/libdnf5").is_dir()
    assert not [*(built.tree / "usr/lib/sysimage/libdnf5").iterdir(), *(built.tree / "var/cache/libdnf5").iterdir()]
    assert not [*(built.tree / "var/log").glob("dnf*")]


def _renewed_key(built: Finished) -> None:
    assert "RPM-GPG-KEY-synthetic has been renewed by its owner" in built.told


def _next_key(built: Finished) -> None:
    """Packages of two keys were installed."""
    told = in_tree(built.tree, "rpm", "-qa", "--queryformat", "%|RSAHEADER?{%{RSAHEADER:pgpsig}}|\n")
    assert len(set(re.findall(r"Key ID (\w+)", told))) == 2


def _both_signatures(built: Finished) -> None:
    """Its rpm has taken the one, whatever stands beside it (the tag OPENPGP, a list of texts)."""
    (package,) = built.mirror.glob("**/bash-[0-9]*.rpm")
    assert bytes.fromhex("00000116 00000008") in package.read_bytes()[:8192]
    assert "Key ID" in in_tree(built.tree, "rpm", "-q", "--queryformat", "%{RSAHEADER:pgpsig}", "bash")


def _two_vendors(built: Finished) -> None:
    """After an update of all packages (element ``updating`` of the tests) it is still the first vendor's."""
    assert built.packages["vendor-tool"] == "1"


OBSERVATIONS: Mapping[str, Callable[[Finished], None]] = {
    "sole_database_format": _sole_database_format,
    "merged_sbin": _merged_sbin,
    "lua_pretrans": _lua_pretrans,
    "system_users": _system_users,
    "failing_scriptlets": _failing_scriptlets,
    "weak_dependencies": _weak_dependencies,
    "rich_dependencies": _rich_dependencies,
    "file_dependencies": _file_dependencies,
    "module_streams": _module_streams,
    "zstd_lists": _zstd_lists,
    "dnf5": _dnf5,
    "renewed_key": _renewed_key,
    "next_key": _next_key,
    "both_signatures": _both_signatures,
    "two_vendors": _two_vendors,
    "product": _product,
}
