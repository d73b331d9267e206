"""Which releases there are, how long they live, and what is refused before any work starts."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.elements import catalogue
from builder.request.options import BuildOptions
from builder.request.prepare import prepare
from builder.request.releases.check import distribution_of
from builder.request.releases.support import judge, own_source
from qemu.architecture import ARCHITECTURES
from stages.distributions import table
from stages.distributions.table import ALL, Distribution
from stages.element.environment_defaults import declared
from stages.element.resolve import BUILTIN, Element, find_elements

DAY = date(2026, 11, 29)
DISTRIBUTIONS: dict[str, Distribution] = {name: known for name in table.names() if (known := table.find(name))}
DISTRO_INFO = Path("/usr/share/distro-info")
SYSTEMS = {name: element for name, element in find_elements([BUILTIN]).items() if distribution_of(element)}


def told(name: str, release: str, arch: str = "amd64", *, today: date = DAY, own: bool = False) -> str:
    return "\n".join(judge(name, release, arch, today, own=own))


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("debian", "trixie"),
        ("debian", "bookworm"),
        *(("debian", word) for word in ("stable", "oldstable", "testing", "unstable", "sid")),
        ("ubuntu", "noble"),
        ("ubuntu", "devel"),
        *(("fedora", word) for word in ("44", "45", "rawhide")),
        *(("centos", word) for word in ("9-stream", "10-stream", "10")),
        *((name, word) for name in ("rocky", "almalinux", "rhel") for word in ("9", "10", "9.6", "10.1")),
        ("opensuse", "16.0"),
        ("opensuse", "tumbleweed"),
        ("arch", "rolling"),
        ("arch", "2026/11/01"),
        *(("alpine", word) for word in ("v3.23", "3.23", "edge", "latest-stable")),
        ("gentoo", "gentoo"),
        ("gentoo", "20261122T170343Z"),
    ],
)
def test_a_release_that_lives_passes_without_a_word(name: str, release: str) -> None:
    assert told(name, release) == ""


@pytest.mark.parametrize(
    ("name", "release", "hints"),
    [
        ("debian", "trixi", ("did you mean 'trixie'?", "there is: duke, forky, trixie", "DIB_DISTRIBUTION_MIRROR")),
        ("debian", "13", ("its name is 'trixie'",)),
        ("ubuntu", "24.04", ("its name is 'noble'",)),
        ("ubuntu", "trixie", ("there is: tenacious",)),
        ("fedora", "f43", ("there is: 45, 44",)),
        ("fedora", "33", ()),
        ("centos", "7", ()),
        ("rocky", "7.9", ()),
        ("rocky", "9.x", ()),
        ("rhel", "7", ()),
        ("opensuse", "15.06", ("did you mean '15.6'?",)),
        ("opensuse", "leap", ()),
        ("arch", "2026-11-01", ()),
        ("alpine", "v3.9", ()),
        ("alpine", "edg", ("did you mean 'edge'?",)),
        ("gentoo", "23.0", ()),
    ],
)
def test_an_unknown_release_is_refused_naming_the_nearest(name: str, release: str, hints: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"has no release '{release}'") as caught:
        told(name, release)
    assert [hint for hint in hints if hint not in caught.value.hint] == []


@pytest.mark.parametrize(
    ("name", "release"),
    [("fedora", "50"), ("centos", "11"), ("rocky", "11.0"), ("rhel", "11"), ("opensuse", "17.1"), ("alpine", "3.30")],
)
def test_a_number_above_the_newest_known_passes_with_a_note(name: str, release: str) -> None:
    assert told(name, release) == f"{DISTRIBUTIONS[name].title} {release} is newer than any release that is known here"


@pytest.mark.parametrize(
    ("name", "release", "end"),
    [("debian", "bullseye", "2026-08-31"), ("centos", "8", "2024-05-31"), ("alpine", "3.21", "2026-11-01")],
)
def test_a_release_warns_from_the_day_after_its_end(name: str, release: str, end: str) -> None:
    assert told(name, release, today=date.fromisoformat(end)) == ""
    assert f"is at the end of its life: no security updates since {end}" in told(name, release)


def test_a_release_that_has_ended_is_told_with_the_place_of_what_mirrors_no_longer_keep() -> None:
    centos = table.find("centos")
    assert centos is not None
    archive = centos.facts["archive"]
    assert told("centos", "8").endswith(f"; what mirrors no longer keep of it is at {archive}")
    assert "no longer keep" not in told("alpine", "3.18"), "its mirrors keep every release"


@pytest.mark.parametrize(
    ("name", "release", "arch", "hint"),
    [
        ("debian", "bookworm", "riscv64", "Debian trixie is made for riscv64"),
        ("fedora", "43", "armhf", "it is made for amd64, arm64, ppc64el, s390x"),
        ("fedora", "50", "i386", "it is made for amd64, arm64, ppc64el, s390x"),
        ("rocky", "9.5", "riscv64", "Rocky Linux 10 is made for riscv64"),
        ("opensuse", "16.0", "armhf", "openSUSE tumbleweed is made for armhf"),
        ("arch", "rolling", "arm64", "it is made for amd64"),
        ("fedora", "", "riscv64", "it is made for amd64, arm64, ppc64el, s390x"),
    ],
)
def test_an_architecture_that_a_release_lacks_is_refused(name: str, release: str, arch: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"is not made for {arch}") as caught:
        told(name, release, arch)
    assert hint in caught.value.hint


def test_what_comes_from_a_source_of_ones_own_is_never_refused() -> None:
    assert "taken for one of your own" in told("debian", "acme-7", own=True)
    assert "did you mean 'trixie'?" in told("debian", "trixi", own=True)
    assert "Fedora 43 is not made for riscv64" in told("fedora", "43", "riscv64", own=True)
    assert own_source({"DIB_APT_SOURCES_CONF": "default:deb http://a.invalid acme main"})
    assert not own_source({"DIB_DISTRIBUTION_MIRROR": "", "DIB_CTR_DEBIAN_MIRROR": "http://a.invalid"})


def test_nothing_is_said_of_a_distribution_that_nobody_knows() -> None:
    assert told("acme", "1") == ""


@pytest.mark.parametrize("element", SYSTEMS.values(), ids=SYSTEMS)
def test_every_built_in_system_has_a_default_that_is_known(element: Element) -> None:
    found = declared([element], {}, ["DIB_RELEASE", "DISTRO_NAME"])
    assert found["DISTRO_NAME"] == distribution_of(element)
    assert judge(found["DISTRO_NAME"], found["DIB_RELEASE"], "amd64", date(2026, 1, 1)) == ()


def test_the_list_is_in_order_and_of_known_architectures() -> None:
    for distribution in DISTRIBUTIONS.values():
        assert set(distribution.architectures) <= set(ALL) == set(ARCHITECTURES)
        for release in distribution.releases:
            assert set(release.architectures) <= set(ALL), release
            assert not release.end or date.fromisoformat(release.end)
        assert len(set(distribution.names)) == len(distribution.names)


@pytest.mark.skipif(not DISTRO_INFO.is_dir(), reason="distro-info-data is not installed")
@pytest.mark.parametrize("name", ["debian", "ubuntu"])
def test_the_list_has_the_same_releases_as_the_installed_data_of_debian(name: str) -> None:
    rows = list(csv.DictReader((DISTRO_INFO / f"{name}.csv").open()))
    versions = {row["series"]: row["version"].removesuffix(" LTS") for row in rows}
    known = {release.name: release for release in DISTRIBUTIONS[name].releases}
    both = versions.keys() & known.keys()
    assert len(both) > 4
    assert {series: known[series].version for series in both} == {series: versions[series] for series in both}


# -- environment.d, read without running it --------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "given", "found"),
    [
        ('export DIB_RELEASE="${DIB_RELEASE:-one}"', "", "one"),
        ('export DIB_RELEASE="${DIB_RELEASE:-one}"', "two", "two"),
        ("export DIB_RELEASE=${DIB_RELEASE:-9} # the newest", "", "9"),
        ("DIB_RELEASE='three'", "two", "three"),
        (': "${DIB_RELEASE:=four}"', "", "four"),
        ('DIB_RELEASE="v$DIB_RELEASE"', "5", "5"),
        ("    DIB_RELEASE=six", "", ""),
        ("# DIB_RELEASE=seven", "", ""),
        ('DIB_RELEASE="${OTHER:-eight}"', "", ""),
    ],
)
def test_a_variable_is_read_from_its_usual_forms(tmp_path: Path, line: str, given: str, found: str) -> None:
    (tmp_path / "environment.d").mkdir()
    (tmp_path / "environment.d/10-it.bash").write_text(f"true\n{line}\n")
    variables = {"DIB_RELEASE": given} if given else {}
    assert declared([Element("it", tmp_path)], variables, ["DIB_RELEASE"]).get("DIB_RELEASE", "") == found


# -- requests --------------------------------------------------------------------------------------


def test_a_request_is_refused_before_any_work_starts() -> None:
    with pytest.raises(UsageError, match="has no release 'trixi'"):
        prepare("build", BuildOptions(("debian-minimal",), release="trixi"), {})
    with pytest.raises(UsageError, match="Fedora 44 is not made for armhf"):
        prepare("plan", BuildOptions(("fedora-minimal",), arch="armv7l"), {})


def test_the_day_is_that_of_the_sources() -> None:
    wish = BuildOptions(("debian-minimal",), release="bullseye", arch="amd64")
    assert prepare("build", wish, {"SOURCE_DATE_EPOCH": "1700000000"}).notes == ()
    (note,) = prepare("build", wish, {"SOURCE_DATE_EPOCH": "1800000000"}).notes
    assert note.startswith("Debian bullseye is at the end of its life: no security updates since 2026-08-31")


def test_a_mirror_of_ones_own_has_what_it_has() -> None:
    given = {"DIB_DISTRIBUTION_MIRROR": "http://127.0.0.1:1/debian"}
    (note,) = prepare("build", BuildOptions(("debian-minimal",), release="acme", arch="amd64"), given).notes
    assert "one of your own" in note


def test_the_page_of_an_element_names_the_releases() -> None:
    page = catalogue.page(catalogue.describe("fedora-minimal", catalogue.universe("", {})))
    assert "releases: rawhide, 45, 44 (until 2027-06-02), 43 (until 2026-12-09), " in page
    assert "architectures: amd64, arm64, ppc64el, s390x" in page
    assert catalogue.describe("vm", catalogue.universe("", {}))["releases"] == []
