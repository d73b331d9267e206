"""Which mirror a build takes from copies that are out of step: asked from a farm of them on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from stages.repositories import mirror_choice
from stages.repositories import state as repositories
from stages.repositories.state import Repository, State, remember, states
from tests.mirrors.farm import Copy, Farm, serving


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Four states of a repository; the days of their making are those of their names."""
    made = {}
    for number, name in enumerate(("older", "old", "new", "newer")):
        file = tmp_path / name / "repodata/repomd.xml"
        file.parent.mkdir(parents=True)
        file.write_text(f"<revision>{1_760_000_000 + number}</revision>")
        made[name] = tmp_path / name
    return made


@pytest.fixture
def farm(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    monkeypatch.setattr(repositories, "ATTEMPTS", 1)
    copies = {name: Copy(name) for name in ("older", "old", "new")}
    with serving(Farm(folders, copies, "new", ("old",))) as served:
        yield served


def planned(farm: Farm, tmp_path: Path, index: str = "") -> State:
    (found,) = states([Repository("updates", index or farm.metalink)], tmp_path / "seen", offline=False)
    return found


def test_mirrors_in_other_states_are_passed_over(farm: Farm, tmp_path: Path) -> None:
    found = planned(farm, tmp_path)
    assert found.digest == farm.digest("new")
    assert found.mirrors == (f"{farm.address}/new",), "what was seen in another state is not among them"
    assert found.name == "updates"


def test_mirrors_that_were_not_asked_stand_behind(farm: Farm, tmp_path: Path) -> None:
    farm.copies = {"new": Copy("new"), "old": Copy("old")}
    assert planned(farm, tmp_path).mirrors == (f"{farm.address}/new", f"{farm.address}/old")
    assert farm.asked == ["/metalink", "/new/repodata/repomd.xml"], "one that has the state is enough"


def test_where_none_has_the_newest_state_an_earlier_one_is_taken(farm: Farm, tmp_path: Path) -> None:
    farm.newest, farm.alternates = "newer", ("new", "old")
    found = planned(farm, tmp_path)
    assert (found.digest, found.mirrors) == (farm.digest("new"), (f"{farm.address}/new",))
    assert found.date == 1_770_000_000 + sorted(farm.states).index("new"), "the date is that of the state"


def test_a_state_that_the_metalink_does_not_name_is_refused(farm: Farm, tmp_path: Path) -> None:
    farm.newest, farm.alternates = "newer", ()
    with pytest.raises(BuildError, match="none of the 3 mirrors that were asked has a state that the metalink names"):
        planned(farm, tmp_path)


def test_dead_mirrors_are_passed_over(farm: Farm, tmp_path: Path) -> None:
    farm.copies = {"dead": Copy("new", gone_after=0), "new": Copy("new")}
    assert planned(farm, tmp_path).mirrors == (f"{farm.address}/new",)
    farm.copies = {"dead": Copy("new", gone_after=0)}
    with pytest.raises(BuildError, match="none of the 1 mirrors"):
        planned(farm, tmp_path)


def test_no_mirror_is_asked_where_nothing_has_changed(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    remember([planned(farm, tmp_path)], tmp_path / "seen")
    farm.asked.clear()
    again = planned(farm, tmp_path)
    assert farm.asked == ["/metalink"]
    assert again.digest == farm.digest("new")
    assert again.mirrors == tuple(f"{farm.address}/{name}" for name in farm.copies), "dnf passes over the others itself"
    (offline,) = states([Repository("updates", farm.metalink)], tmp_path / "seen", offline=True)
    assert (offline.digest, offline.mirrors) == (again.digest, ()), "mirrors are not written down"


def test_not_more_than_a_few_mirrors_are_asked(farm: Farm, tmp_path: Path) -> None:
    farm.copies = {f"m{number}": Copy("older") for number in range(20)}
    with pytest.raises(BuildError, match=f"none of the {mirror_choice.PROBES} mirrors"):
        planned(farm, tmp_path)
    assert len(farm.asked) == mirror_choice.PROBES + 1


def test_a_redirector_is_asked_once_and_the_mirror_behind_it_is_kept(farm: Farm, tmp_path: Path) -> None:
    """The state and the mirror are from one answer: the next request would be sent to another copy."""
    first, second = (planned(farm, tmp_path, farm.redirector) for _ in range(2))
    assert first.digest == farm.digest("older")
    assert first.mirrors == (f"{farm.address}/older", f"{farm.address}/redirect")
    assert second.mirrors[0] == f"{farm.address}/old"
    farm.redirects = False
    assert planned(farm, tmp_path, farm.redirector).mirrors == (f"{farm.address}/redirect",)


def test_a_list_of_mirrors(farm: Farm, tmp_path: Path) -> None:
    """The first that answers has the state; ``$basearch`` in the list is filled in, as dnf does."""
    folder = tmp_path / "old"
    (folder / "list").write_text(
        f"# mirrors\n{farm.address}/dead\n{farm.address}/$basearch/\nftp://x.invalid/f\n{farm.address}/new\n"
    )
    farm.copies = {"dead": Copy("old", gone_after=0), "x86_64": Copy("old"), "new": Copy("new")}
    listed = f"mirrorlist={farm.address}/x86_64/list repodata/repomd.xml basearch=x86_64"
    found = planned(farm, tmp_path, listed)
    assert found.digest == farm.digest("old")
    assert found.mirrors == tuple(f"{farm.address}/{name}" for name in ("x86_64", "dead", "new"))


def test_other_kinds_of_repositories_have_no_mirrors_of_their_own(farm: Farm, tmp_path: Path) -> None:
    release = tmp_path / "new/dists/x/InRelease"
    release.parent.mkdir(parents=True)
    release.write_text("Date: Sat, 12 Sep 2026 07:55:41 UTC\n")
    found = planned(farm, tmp_path, f"{farm.address}/new/dists/x/InRelease")
    assert found.mirrors == ()
    assert found.digest == hashlib.sha256(release.read_bytes()).hexdigest()
