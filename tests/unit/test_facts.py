"""The files of facts: of the right form, whole for each release that is promised, and with a source for each fact."""

from __future__ import annotations

import re
from datetime import date

import pytest

from stages.distributions.facts import of_release
from stages.distributions.table import TABLE, Distribution, names
from stages.element.package_installs import pkg_map, read_pkg_maps
from stages.element.resolve import BUILTIN
from tests.facts import files
from tests.facts.files import families
from tests.matrix.rows import Row, rows

FAMILIES = families()
DISTRIBUTIONS = {each.name: each for family in FAMILIES for each in family.distributions}
SOURCES = [(family.name, source) for family in FAMILIES for source in family.sources]
# What every release has, and beside it those of a package manager (``build``).
ALWAYS = ("init", "efi", "package-manager", "mirror", "keys", "packages")
OF_MANAGER = {
    "apt": ("keyring", "suites", "components", "merged-usr"),
    "dnf": ("rpm", "repositories", "key-files", "own-repositories"),
    "zypper": ("rpm", "repositories", "key-files"),
    "pacman": ("keyring", "repositories"),
    "apk": ("key-files", "repositories"),
    "": ("key-files",),
}
ROLES = ("kernel", "initramfs", "grub", "cloud-init", "openssh-server")
FINGERPRINT = re.compile(r"[0-9A-F]{40}|alpine-devel@lists\.alpinelinux\.org-[0-9a-f]{8}\.rsa\.pub")


def test_the_table_that_builds_read_is_made_of_the_files() -> None:
    assert TABLE.read_text(encoding="utf-8") == files.table(), "run `just docs`"
    assert set(names()) == set(DISTRIBUTIONS)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_every_fact_has_a_source_or_is_said_to_have_none(distribution: Distribution) -> None:
    (sources,) = (family.sources for family in FAMILIES if distribution in family.distributions)
    found = [name for name in files.names(distribution) if not any(s.covers(distribution.name, name) for s in sources)]
    assert found == []


@pytest.mark.parametrize(("family", "source"), SOURCES)
def test_a_source_names_facts_that_are_there_and_when_they_were_seen(family: str, source: files.Source) -> None:
    (distributions,) = (each.distributions for each in FAMILIES if each.name == family)
    there = {name for each in distributions if not source.of or each.name in source.of for name in files.names(each)}
    assert [each for each in source.facts if not any(n == each or n.startswith(f"{each}.") for n in there)] == []
    if source.unconfirmed:
        assert not (source.project or source.seen)
    else:
        assert source.project and source.path and source.state
        assert source.day and source.day <= date.today()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_every_release_has_what_its_elements_ask_for(distribution: Distribution) -> None:
    for release in distribution.names:
        found = of_release(distribution, release, "amd64")
        wanted = (*ALWAYS, *OF_MANAGER[found["package-manager"]["build"]])
        assert [name for name in wanted if name not in found] == [], release
        assert [role for role in ROLES if role not in found["packages"]] == [], release
        assert found["packages"]["kernel"], release


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_keys_are_fingerprints_with_their_ends(distribution: Distribution) -> None:
    for release in distribution.names:
        for fingerprint, end in of_release(distribution, release, "amd64")["keys"].items():
            assert FINGERPRINT.fullmatch(fingerprint), f"{release}: {fingerprint}"
            assert end in ("", "unconfirmed") or date.fromisoformat(end)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_every_row_of_the_matrix_is_a_release_with_keys(row: Row) -> None:
    distribution = DISTRIBUTIONS[row.distribution]
    assert distribution.find(row.release), row.release
    assert row.arch in distribution.architectures
    assert of_release(distribution, row.release, row.arch)["keys"]


def test_a_release_begins_before_it_ends() -> None:
    for distribution in DISTRIBUTIONS.values():
        days = [(each.released, each.end) for each in distribution.releases]
        assert [pair for pair in days if all(pair) and not pair[0] < pair[1]] == []
        begun = [released for released, _ in days if released]
        assert begun == sorted(begun, reverse=True), distribution.name


# -- the names of packages in the elements' pkg-map --------------------------------------------------------------------

# The elements that install by a role: their pkg-map's name for it.
INSTALLED = {
    "cloud-init": ("cloud-init", "cloud-init"),
    "openssh-server": ("openssh-server", "openssh-server"),
    "grub": ("bootloader", "grub-tools"),
    "init": ("vm", "init"),
    "shim": ("bootloader", "grub-x86_64-efi-signed"),
}
MAPS = read_pkg_maps([(name, BUILTIN / name) for name, _ in INSTALLED.values()])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_elements_install_what_the_facts_name(distribution: Distribution) -> None:
    release = (*distribution.releases, *distribution.rolling)[0].name
    packages = of_release(distribution, release, "amd64")["packages"]
    for role, (element, name) in INSTALLED.items():
        wanted = packages.get(role, [])
        wanted = wanted.split() if isinstance(wanted, str) else wanted
        mapped = pkg_map(MAPS[element], distribution.name, release).get(name, "").split()
        if role == "init":  # udev is a package of its own in the map
            mapped += pkg_map(MAPS[element], distribution.name, release).get("udev", "").split()
        assert [each for each in wanted if each not in mapped] == [], f"{role}: {element}/pkg-map has {mapped}"
