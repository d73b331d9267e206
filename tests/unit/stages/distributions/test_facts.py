"""The facts of one release for one architecture, as elements are told them."""

from __future__ import annotations

import pytest

from stages.distributions.facts import merged, of_release, variables
from stages.distributions.table import ALL, Distribution, find, names, of

ACME = of(
    "acme",
    {
        "title": "Acme",
        "prefix": "v",
        "minor": True,
        "architectures": {"amd64": "x86_64", "arm64": {"name": "aarch64", "port": "arm"}},
        "facts": {
            "init": "systemd",
            "mirror": {"others": "http://a.invalid/@PORT@", "amd64": "http://a.invalid"},
            "rpm": {"path": "/a", "backend": "sqlite"},
            "repositories": [
                {"name": "one", "path": "@RELEASE@/@MAJOR@/@ARCH@", "metalink": "http://l.invalid/@NUMBER@"},
                {"name": "two", "path": "two", "mirrorlist": "http://l.invalid/two", "basearch": "@ARCH@"},
                {"name": "three", "path": "three"},
            ],
            "key-files": ["acme/KEY-@MAJOR@", "/own/key"],
            "keys": {"A" * 40: "2027-01-01"},
            "packages": {"kernel": {"others": "kernel", "arm64": ["kernel-arm", "dtb"]}, "init": ["systemd", "udev"]},
        },
        "releases": {
            "v2": {},
            "v1": {
                "facts": {
                    "rpm": {"path": "/b"},
                    "keys": {"B" * 40: ""},
                    "packages": {"kernel": "old-kernel"},
                }
            },
        },
        "rolling": {"edge": None},
    },
)


def told(release: str, arch: str = "amd64") -> dict[str, str]:
    return {name.removeprefix("DIB_FACT_"): value for name, value in variables(ACME, release, arch).items()}


def test_a_release_has_its_own_facts_and_else_the_distributions() -> None:
    assert (told("v2")["RPM_PATH"], told("v1")["RPM_PATH"], told("v1")["RPM_BACKEND"]) == ("/a", "/b", "sqlite")
    assert told("1.4")["RPM_PATH"] == "/b", "the name without its prefix, and of a minor release"
    assert told("v9")["RPM_PATH"] == told("edge")["RPM_PATH"] == "/a", "one that nobody knows has the distribution's"
    assert merged(ACME, ACME.find("v1"))["keys"] == {"B" * 40: ""}, "keys take each other's place"


def test_a_fact_may_be_another_one_for_an_architecture() -> None:
    assert told("v2")["MIRROR"] == "http://a.invalid"
    assert told("v2", "arm64")["MIRROR"] == told("v2", "arm64")["MIRROR"] == "http://a.invalid/arm"
    assert (told("v2")["PACKAGES_KERNEL"], told("v2", "arm64")["PACKAGES_KERNEL"]) == ("kernel", "kernel-arm dtb")
    assert told("v1", "arm64")["PACKAGES_KERNEL"] == "old-kernel"
    assert (told("v2")["ARCHITECTURE"], told("v2", "arm64")["ARCHITECTURE"]) == ("x86_64", "aarch64")
    assert told("v2", "arm64")["ARCHITECTURE_PORT"] == "arm"
    assert told("v2", "s390x")["ARCHITECTURE"] == "", "one that the distribution is not made for"


def test_repositories_are_lines_with_their_words_filled_in() -> None:
    found = told("1.4", "arm64")
    assert found["REPOSITORIES"] == "one two three"
    assert found["LAYOUT"].splitlines() == ["one v1.4/1/aarch64", "two two", "three three"]
    assert found["LISTS"].splitlines() == [
        "one metalink=http://l.invalid/1.4",
        "two mirrorlist=http://l.invalid/two repodata/repomd.xml basearch=aarch64",
    ]
    assert found["KEY_FILES"] == "/usr/share/distribution-gpg-keys/acme/KEY-1 /own/key"
    assert not [name for name, value in found.items() if "A" * 40 in value + name], "fingerprints are for checks"


def test_what_another_release_has_changes_nothing() -> None:
    """Stages see variables: so a fact of another release reruns none of them."""
    other = Distribution(**{**ACME.__dict__, "releases": ACME.releases[:1]})
    assert variables(other, "v2", "amd64") == variables(ACME, "v2", "amd64")


@pytest.mark.parametrize("name", names())
def test_no_word_is_left_in_any_fact_of_any_release(name: str) -> None:
    distribution = find(name)
    assert distribution
    for release in distribution.names:
        for arch in distribution.architectures:
            assert arch in ALL
            for fact, value in variables(distribution, release, arch).items():
                assert "@" not in value, f"{release} {arch} {fact}"
                assert "None" not in value
            assert (
                of_release(distribution, release, arch)["mirror"]
                == (variables(distribution, release, arch)["DIB_FACT_MIRROR"])
            )
