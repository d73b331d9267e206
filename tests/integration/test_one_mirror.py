"""One mirror, in one state, for one build: real dnf takes a package from a farm of copies that are out of step.

Each property of the farm that a build has to live with is met twice: as a build meets it, and by a script that takes
what an address gives it, as it was before mirrors were pinned. The latter must not get through.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, Outcome, has, script, write_element
from tests.mirrors.farm import Copy, Farm, serving

STATES = ("older", "old", "new", "newer")
SPEC = """Name: notes
Version: {version}
Release: 1
Summary: A file that says which state it is of
License: None
BuildArch: noarch
%description
A file.
%install
mkdir -p %{{buildroot}}/opt
echo {state} > %{{buildroot}}/opt/state
%files
/opt/state
"""
# What a bootstrap does, as small as it can be: dnf installs into a tree, here one beside the image's.
TAKE = r"""place="$(mktemp -d)"
mkdir "$place/repos"
printf '[updates]\nname=u\n%s\ngpgcheck=0\n' 'SOURCE' > "$place/repos/u.repo"
printf '%s\n' '[main]' "reposdir=$place/repos" "cachedir=$DIB_CTR_CACHE/dnf" plugins=0 "logdir=$place/log" keepcache=1 \
    metadata_expire=never retries=2 > "$place/dnf.conf"
install -d "$place/root/run" "$DIB_CTR_CACHE/dnf"
install -d "$place/root$DIB_CTR_CACHE"
ln -s "$DIB_CTR_CACHE/dnf" "$place/root$DIB_CTR_CACHE/dnf"
dnf --config "$place/dnf.conf" --installroot "$place/root" --releasever 1 --assumeyes install notes
install -D "$place/root/opt/state" "$TARGET_ROOT/etc/state"
rm -rf "$place"
"""
# zypper takes what an address gives it: it is told no digest.
TAKE_BY_ZYPPER = r"""place="$(mktemp -d)"
mkdir "$place/repos"
printf '[updates]\nname=u\nenabled=1\nautorefresh=1\ntype=rpm-md\nbaseurl=SOURCE\n' > "$place/repos/u.repo"
zypper --non-interactive --no-gpg-checks --root "$place/root" --reposd-dir "$place/repos" \
    --cache-dir "$DIB_CTR_CACHE/zypp" --pkg-cache-dir "$DIB_CTR_CACHE/zypp/packages" install notes
install -D "$place/root/opt/state" "$TARGET_ROOT/etc/state"
rm -rf "$place"
"""
PINNED = "metalink=file:///dev/dib-ctr-repositories/updates.metalink"
CACHES = "".join(
    f"- {{name: {name}, path: /var/cache/{name}, files: '*.rpm', lists: repomd.xml}}\n" for name in ("dnf", "zypp")
)


@dataclass(frozen=True)
class Builds:
    """Builds from a farm; each has a store of its own."""

    farm: Farm
    place: Path

    def __call__(
        self,
        index: str = "",
        source: str = PINNED,
        store: str = "store",
        status: int = 0,
        caches: bool = True,
        take: str = TAKE,
    ) -> Outcome:
        """Build from the metalink, or another ``index``; ``source`` is what dnf is told. Fails with another status."""
        elements = self.place / f"elements-{store}"
        files = {
            "extra-data.d/30-take": script(take.replace("SOURCE", source)),
            "install.d/40-after": script("cat /etc/state > /etc/again"),
        }
        write_element(elements, "takes", {**files, **({"caches.yaml": CACHES} if caches else {})})
        command = Command("host", self.place / store, self.place / f"{store}-out", (elements, ELEMENTS))
        settings = {"DIB_CTR_REPOSITORIES": f"updates {index or self.farm.metalink}", "DIB_MIRROR_TIMEOUT": "5"}
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outcome = command("build", *words, "-o", "dir,slim=no", "-o", "tar", "tiny-os", "takes")
        assert outcome.status == status, f"{outcome.stdout[-4000:]}\n{outcome.stderr}"
        return outcome

    def state(self, store: str = "store") -> str:
        """Which state's package is in the image that was built last."""
        (tree,) = (self.place / f"{store}-out").glob("*.dir")
        return (tree / "etc/state").read_text().strip()

    def keys(self, outcome: Outcome) -> list[str]:
        """The keys of the stages of a build's first plan."""
        plan = next(event for event in outcome.events if event["type"] == "plan")
        return [stage["key"] for stage in plan["stages"]]


def notes(outcome: Outcome) -> list[str]:
    return [event["text"] for event in outcome.events if event["type"] == "note"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The repository in its states, a package of a name of its own in each."""
    if not has("dnf", "rpmbuild", "createrepo_c"):
        pytest.skip("dnf, rpmbuild and createrepo_c are needed")
    made, work = {}, tmp_path_factory.mktemp("repository")
    for number, state in enumerate(STATES):
        folder = work / state
        folder.mkdir()
        spec = work / f"{state}.spec"
        spec.write_text(SPEC.format(version=number + 1, state=state))
        defines = ("--define", f"_topdir {work}/top", "--define", f"_rpmdir {folder}")
        subprocess.run(["rpmbuild", "-bb", *defines, str(spec)], check=True, capture_output=True)
        subprocess.run(["createrepo_c", "-q", "--revision", str(1_760_000_000 + number), str(folder)], check=True)
        made[state] = folder
    return made


@pytest.fixture
def build(folders: dict[str, Path], place: Path) -> Iterator[Builds]:
    """Copies in three states: the first two behind, the others up to date."""
    copies = {"a": Copy("older"), "b": Copy("old"), "c": Copy("new"), "d": Copy("new")}
    with serving(Farm(folders, copies, "new", ("old",))) as farm:
        yield Builds(farm, place)


def test_copies_out_of_step(build: Builds) -> None:
    outcome = build()
    assert build.state() == "new"
    assert not [note for note in notes(outcome) if "moved" in note]
    build.farm.asked.clear()
    again = build()
    assert again.titles("start") == []
    assert build.farm.asked == ["/metalink"], "no mirror is asked where nothing has changed"


def test_the_mirror_is_part_of_no_key_and_in_no_image(build: Builds) -> None:
    """Two builds from two mirrors in the same state: the same keys, the same bytes."""
    first = build(store="one")
    assert [path for path in build.farm.asked if path.startswith("/c/") and path.endswith(".rpm")]
    build.farm.asked.clear()
    build.farm.copies = {name: build.farm.copies[name] for name in ("d", "c", "b", "a")}
    second = build(store="two")
    assert [path for path in build.farm.asked if path.startswith("/d/") and path.endswith(".rpm")]
    assert build.keys(second) == build.keys(first)
    assert second.digest("tar") == first.digest("tar")
    address = build.farm.address.encode()
    found = [file for file in (build.place / "two/layers").rglob("*") if file.is_file() and not file.is_symlink()]
    assert found
    assert not [file for file in found if address in file.read_bytes()], "no layer names a mirror"


def test_a_redirector_sends_each_request_to_another_copy(build: Builds) -> None:
    """The plan keeps to the copy that answered it; what dnf is told of names that copy alone."""
    build(build.farm.redirector)
    assert build.state() == "older"
    assert not [path for path in build.farm.asked if path.startswith(("/b/", "/c/"))]


def test_an_address_that_the_image_brought_along_is_overruled(build: Builds) -> None:
    """As install-packages calls dnf: the image's own package source names the redirector, the build its state."""
    own = TAKE.replace("--assumeyes", f"--assumeyes --setopt=updates.{PINNED}")
    build(build.farm.redirector, f"baseurl={build.farm.address}/redirect/", take=own)
    assert build.state() == "older"


@pytest.mark.thorough("what happens without the mend, three builds each; `just test` has it with")
@pytest.mark.parametrize("caches", [True, False], ids=["seen in dnf's lists", "seen at the end"])
def test_without_pinning_a_redirector_does_not_get_through(build: Builds, caches: bool) -> None:
    """dnf asks the redirector itself and gets another copy than the plan did, each time: that is never kept."""
    build.farm.copies = {"a": Copy("older"), "b": Copy("old"), "c": Copy("new")}
    unpinned = f"baseurl={build.farm.address}/redirect/"
    failed = build(build.farm.redirector, unpinned, status=1, caches=caches)
    assert "the repositories keep moving" in failed.stderr
    assert len([note for note in notes(failed) if "moved during the build" in note]) == 2


@pytest.mark.thorough("what happens without the mend, three builds each; `just test` has it with")
def test_without_pinning_dnf_takes_an_earlier_state_than_the_plan(build: Builds) -> None:
    """Told the metalink itself, it takes what the metalink names for a while: not kept either, though nothing moves."""
    failed = build(source=build.farm.metalink, status=1)
    assert "the repositories keep moving" in failed.stderr
    build.farm.alternates = ()
    build(source=build.farm.metalink, store="in-step")
    assert build.state("in-step") == "new"


def test_updates_move_during_the_build(build: Builds) -> None:
    """The copies go on after the plan: the build begins again from their new state, and says so."""
    build.farm.moves_after, build.farm.moves_to = 3, "newer"
    outcome = build()
    assert len([note for note in notes(outcome) if "moved during the build" in note]) == 1
    assert build.state() == "newer"
    assert build().titles("start") == [], "what is kept was made from the state that the copies have now"


def test_updates_that_move_behind_the_builds_mirror_do_not_matter(build: Builds) -> None:
    """The metalink and the other copies go on; the build's own copy is still where it was, so the build is, too."""
    build.farm.copies["d"] = Copy("new")
    build.farm.moves_after, build.farm.moves_to = 3 + 4, "newer"  # the plan's three, and dnf's
    outcome = build()
    assert build.state() == "new"
    assert not [note for note in notes(outcome) if "moved" in note]


def test_a_mirror_that_dies_gives_way_to_the_next_one_in_its_state(build: Builds) -> None:
    build.farm.copies["c"].gone_after = 1  # it has told the plan its state
    build()
    assert build.state() == "new"
    assert [path for path in build.farm.asked if path.startswith("/d/") and path.endswith(".rpm")]
    failed = build(source=f"baseurl={build.farm.address}/c/", store="unpinned", status=1)
    assert "does not answer, is too slow, or breaks off" in failed.stderr, "without pinning there is no other one"


@pytest.mark.thorough("two more builds from a list; test_mirror_choice.py has the choice")
def test_a_list_of_mirrors(build: Builds) -> None:
    """It names no state: the first of its mirrors that answers does, and dnf takes no other one."""
    listed = f"mirrorlist={build.farm.address}/c/list repodata/repomd.xml"
    refused = build(listed, status=1)
    assert "the repository 'updates' does not answer: 404" in refused.stderr
    file = build.farm.states["new"] / "list"
    file.write_text(f"{build.farm.address}/gone\n{build.farm.address}/a\n{build.farm.address}/c\n")
    try:
        build(listed)
    finally:
        file.unlink()
    assert build.state() == "older"


def test_where_no_mirror_has_the_state_any_more_that_is_said(build: Builds) -> None:
    build.farm.moves_after, build.farm.moves_to, build.farm.metalink_follows = 3, "newer", False
    failed = build(status=1)
    assert "neither it nor another one has the state any more that the build was planned from" in failed.stderr
    build.farm.copies = {}
    shutil.rmtree(build.place / "store")
    failed = build(status=1)
    assert "has no mirror to build from: the metalink names no mirror" in failed.stderr


@pytest.mark.thorough("another tool; `just test` has dnf")
def test_zypper_behind_a_redirector(build: Builds) -> None:
    """What it took of another copy than the plan's is not kept; from copies in step it is, and no question is open."""
    if not has("zypper"):
        pytest.skip("there is no zypper")
    build.farm.copies = {"a": Copy("older"), "b": Copy("old"), "c": Copy("new")}
    source = f"{build.farm.address}/redirect/"
    failed = build(build.farm.redirector, source, status=1, take=TAKE_BY_ZYPPER)
    assert "the repositories keep moving" in failed.stderr
    for copy in build.farm.copies.values():
        copy.state = "new"
    build(build.farm.redirector, source, take=TAKE_BY_ZYPPER)
    assert build.state() == "new"
