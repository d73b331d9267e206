"""Which state of a repository a stage's package tool met: told by the signed index that it left, for each tool."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from blockdev.core.errors import BuildError
from stages.element.cache_rules import CacheRule
from stages.layers.met_repositories import MetRepositories
from stages.layers.package_cache import CacheView
from stages.plan.plan import Stage
from stages.repositories import metalink
from stages.repositories.download import Patience
from stages.repositories.state import MirrorMovedError, State
from stages.sandbox.view import Cache

PLANNED, OTHER = b"<revision>1760000000</revision>", b"<revision>1760000001</revision>"
INSTALLS = cast("Stage", SimpleNamespace(packages=True))
COPIES = cast("Stage", SimpleNamespace(packages=False))
APT = ("http://m/debian/dists/x/InRelease", "tree/var/lib/apt/lists/m_debian_dists_x_InRelease")
FLAT = ("http://m/flat/InRelease", "tree/var/lib/apt/lists/m_flat_._InRelease")
PACMAN = ("http://m/core/os/x86_64/core.db", "tree/var/lib/pacman/sync/core.db")
ZYPPER = ("http://m/oss/repodata/repomd.xml", "cache/raw/oss/repodata/repomd.xml")
DNF = ("http://m/oss/repodata/repomd.xml", "cache/oss-0123456789abcdef/repodata/repomd.xml")
APK = ("http://m/main/x86_64/APKINDEX.tar.gz", "cache/APKINDEX.01234567.tar.gz")


class Ran:
    """A stage that has run: what it left in its tree and in its cache, and what an earlier one had left there."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("tree", "upper", "cache-lower", "cache-upper"):
            (place / name).mkdir(parents=True)

    def left(self, path: str, data: bytes, *, earlier: bool = False) -> None:
        """A file at ``tree/...`` or ``cache/...``."""
        top, _, rest = path.partition("/")
        places = ["tree"] if top == "tree" else []
        if not earlier:
            places.append("upper" if top == "tree" else "cache-upper")
        elif top == "cache":
            places.append("cache-lower")
        for each in places:
            file = self.place / each / rest
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def looked_at(
        self, index: str, stage: Stage = INSTALLS, *, offline: bool = False, locked: bool = False
    ) -> MetRepositories:
        """What is known of the repository then."""
        state = State(index, hashlib.sha256(PLANNED).hexdigest(), 0, name="oss")
        met = MetRepositories([state], self.place / "shown", Patience(), offline, locked)
        cache = Cache("c", self.place / "cache-upper", "/var/cache/c")
        view = CacheView(cache, CacheRule("c", "/var/cache/c"), self.place / "cache-lower", self.place / "cache-upper")
        met.look(stage, self.place / "tree", self.place / "upper", [view])
        return met


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path / "ran")


@pytest.mark.parametrize(("index", "path"), [APT, FLAT, PACMAN, ZYPPER, DNF, APK])
@pytest.mark.parametrize("earlier", [False, True])
def test_the_plans_state_is_known_by_its_index(ran: Ran, index: str, path: str, earlier: bool) -> None:
    ran.left(path, PLANNED, earlier=earlier)
    assert ran.looked_at(index).proven


@pytest.mark.parametrize(("index", "path"), [APT, FLAT, PACMAN, ZYPPER, DNF])
def test_a_stage_that_met_another_state_is_not_kept(ran: Ran, index: str, path: str) -> None:
    ran.left(path, OTHER)
    with pytest.raises(MirrorMovedError):
        ran.looked_at(index)
    assert ran.looked_at(index, COPIES).proven, "a stage that installs nothing may leave what it likes"
    ran.looked_at(index, offline=True)
    ran.looked_at(index, locked=True)


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (APK[0], APK[1]),  # its name says nothing of the repository
        (ZYPPER[0], "cache/raw/another/repodata/repomd.xml"),
        (DNF[0], "cache/another-0123456789abcdef/repodata/repomd.xml"),
        (APT[0], "tree/var/lib/apt/lists/m_debian_dists_y_InRelease"),
    ],
)
def test_another_repositorys_index_says_nothing(ran: Ran, index: str, path: str) -> None:
    ran.left(path, OTHER)
    assert not ran.looked_at(index).proven


@pytest.mark.parametrize(("index", "path"), [APT, ZYPPER])
def test_what_lay_there_before_says_nothing_against_it(ran: Ran, index: str, path: str) -> None:
    """An image that a build begins with may have lists of its own day."""
    ran.left(path, OTHER, earlier=True)
    assert not ran.looked_at(index).proven


def test_links_and_pipes_are_not_read(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(PLANNED)
    for index, path in (APT, PACMAN):
        file = ran.place / path
        file.parent.mkdir(parents=True)
        if index == APT[0]:
            file.symlink_to(tmp_path / "elsewhere")
        else:
            os.mkfifo(file)
        assert not ran.looked_at(index).proven


def test_what_stages_are_shown(tmp_path: Path) -> None:
    states = [
        State("metalink=http://l/m", "a" * 64, 0, mirrors=("http://one/f", "http://two/f"), name="updates"),
        State("http://m/own/repodata/repomd.xml", "b" * 64, 0, name="own"),
        State("http://m/debian/dists/x/InRelease", "c" * 64, 0, name="apt"),
        State("http://m/bad/repodata/repomd.xml", "d" * 64, 0, name="../bad"),
    ]
    met = MetRepositories(states, tmp_path / "shown", Patience())
    assert met.folder(COPIES) is None
    folder = met.folder(INSTALLS)
    assert folder is not None
    assert sorted(file.name for file in folder.iterdir()) == ["own.metalink", "updates.metalink"]
    told = metalink.parse((folder / "updates.metalink").read_bytes(), "http://l/m")
    assert (told.states[0].digest, told.mirrors) == ("a" * 64, ("http://one/f", "http://two/f"))
    assert metalink.parse((folder / "own.metalink").read_bytes(), "http://m").mirrors == ("http://m/own",)
    assert MetRepositories(states, tmp_path / "shown", Patience()).folder(INSTALLS) == folder, "a later plan's"
    assert MetRepositories(states[2:3], tmp_path / "none", Patience()).folder(INSTALLS) is None


def test_a_stage_that_fails_while_its_repositories_have_moved(tmp_path: Path) -> None:
    def unreachable() -> Mapping[str, str]:
        raise BuildError("it does not answer")

    state = State("http://m/oss/repodata/repomd.xml", "a" * 64, 0)
    met = MetRepositories([state], tmp_path, Patience(), now=lambda: {state.shown: "b" * 64})
    met.look_after_failure(COPIES)
    with pytest.raises(MirrorMovedError):
        met.look_after_failure(INSTALLS)
    MetRepositories([state], tmp_path, Patience(), now=lambda: {state.shown: "a" * 64}).look_after_failure(INSTALLS)
    MetRepositories([state], tmp_path, Patience(), now=unreachable).look_after_failure(INSTALLS)
    MetRepositories([state], tmp_path, Patience(), offline=True, now=unreachable).look_after_failure(INSTALLS)
