"""What is old on a day, with facts and a clock of the test's own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from stages.distributions.table import of
from tests.facts.__main__ import report
from tests.facts.age import KEY, OLD, RELEASE, UNCONFIRMED, Finding, findings
from tests.facts.files import Family, Source, families
from tests.facts.key_files import findings as key_findings
from tests.facts.key_files import keys_in
from tests.mirrors.keys import Key

TODAY = date(2026, 11, 30)
OLD_KEY, NEW_KEY, NO_END, UNSAID = (letter * 40 for letter in "ABCD")


def acme(*sources: Source) -> list[Finding]:
    distribution = of(
        "acme",
        {
            "title": "Acme",
            "architectures": {"amd64": "x86_64"},
            "facts": {"init": "systemd", "packages": {"kernel": "k", "grub": "g"}, "keys": {NO_END: ""}},
            "releases": {
                "4": {"facts": {"keys": {NEW_KEY: "2027-06-02"}}},
                "3": {"end": "2027-05-31", "facts": {"keys": {NEW_KEY: "2027-05-31", OLD_KEY: "2026-11-29"}}},
                "2": {"end": "2026-11-29", "facts": {"keys": {OLD_KEY: "2020-01-01"}}},
                "1": {"end": "2026-01-01"},
            },
            "rolling": {"edge": {"facts": {"keys": {UNSAID: "unconfirmed"}}}},
        },
    )
    return findings([Family("acme", (distribution,), sources)], TODAY)


def of_kind(kind: str, found: list[Finding]) -> list[str]:
    return [each.text.replace("A" * 40, "OLD").replace("B" * 40, "NEW") for each in found if each.kind == kind]


def test_keys_of_living_releases_that_end_are_urgent() -> None:
    found = acme()
    assert of_kind(KEY, found) == [
        "the key NEW of Acme 3 ends on 2027-05-31",
        "the key OLD of Acme 3 ended on 2026-11-29",
    ]
    assert {each.kind for each in found if each.urgent} == {KEY}
    assert [each.urgent for each in found][:2] == [True, True], "they come first"
    assert f"no public file says when the key {UNSAID} of Acme edge ends" in of_kind(UNCONFIRMED, found)


def test_releases_are_told_around_their_end() -> None:
    assert of_kind(RELEASE, acme()) == ["Acme 3 ends on 2027-05-31", "Acme 2 ended on 2026-11-29"]


@pytest.mark.parametrize(
    ("seen", "again", "old"),
    [
        ("2026-05-31", "", []),
        ("2026-05-30", "", ["Acme, last seen on 2026-05-30: init, packages.kernel, packages.grub"]),
        ("2026-05-30", "2026-11-29", ["Acme, last seen on 2026-05-30: init, packages.grub"]),
    ],
)
def test_the_newest_of_a_facts_sources_counts(seen: str, again: str, old: list[str]) -> None:
    sources = [Source(("init", "packages"), project="p", path="f", state="1", seen=seen)]
    if again:
        sources.append(Source(("packages.kernel",), ("acme",), project="p", path="g", state="1", seen=again))
        sources.append(Source(("init",), ("other",), project="p", path="g", state="1", seen=again))
    found = acme(*sources)
    assert of_kind(OLD, found) == old
    assert "Acme: releases, architectures, keys" in of_kind(UNCONFIRMED, found)


def test_the_report_has_each_kind_once() -> None:
    text = report(acme(), markdown=True)
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### Keys that end",
        "### Releases that end",
        "### Facts without a source",
    ]
    assert report([]) == "Nothing is old.\n"


def test_the_facts_themselves_can_be_held_against_any_day() -> None:
    leap = "7F009157B127B994D5CFBE76F74F09BC3FA1D6CE"
    living = [each for each in findings(families(), date(2026, 4, 30)) if leap in each.text]
    assert living == [], "its end is more than half a year away"
    assert [each for each in findings(families(), TODAY) if leap in each.text] == [], "of a release that has ended"
    later = [each.text for each in findings(families(), date(2030, 1, 1)) if each.kind == KEY]
    assert any("AD485664E901B867051AB15F35A2F86E29B700A4" in text for text in later)


def test_files_of_keys_that_say_otherwise_are_told(tmp_path: Path) -> None:
    key = Key.make(tmp_path / "home", "Acme", expires="20270101T000000")
    (tmp_path / "acme.asc").write_bytes(key.public())
    ((fingerprint, end),) = keys_in([tmp_path / "acme.asc"]).items()
    assert end == "2027-01-01"

    def told(keys: dict[str, str]) -> list[str]:
        facts = {"key-files": ["acme.asc"], "keys": keys}
        values = {"title": "Acme", "architectures": {"amd64": "x"}, "facts": facts, "releases": {"1": {}}}
        family = Family("acme", (of("acme", values),), ())
        return [each.text.replace(fingerprint, "KEY") for each in key_findings([family], TODAY, tmp_path)]

    assert told({fingerprint: "2027-01-01"}) == told({fingerprint: "unconfirmed"}) == []
    assert told({fingerprint: ""}) == ["the key KEY of Acme 1 ends 2027-01-01 by its file, never by the facts"]
    (missing,) = told({OLD_KEY: ""})
    assert missing.endswith(f"is in none of {tmp_path}/acme.asc")
