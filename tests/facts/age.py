"""What of the facts is old on a day: facts seen long ago, keys that end, releases that have ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from stages.distributions.facts import KEYS, merged
from stages.distributions.table import Distribution, Release
from tests.facts.files import Family, Source, names

HALF_A_YEAR: Final = timedelta(days=183)
OLD, UNCONFIRMED, KEY, RELEASE = "old", "unconfirmed", "key", "release"
UNKNOWN: Final = "unconfirmed"  # the end of a key of which no public file says it


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should look at: of which ``kind``, of which distribution, and a sentence.

    ``urgent`` says that builds of a living release fail for it, or soon will.
    """

    kind: str
    distribution: str
    text: str
    urgent: bool = False


def findings(families: Iterable[Family], today: date) -> list[Finding]:
    """Everything that there is to say of the facts on a day, what is urgent first."""
    found = []
    for family in families:
        for distribution in family.distributions:
            found += [*_keys(distribution, today), *_releases(distribution, today)]
            found += _sources(distribution, family.sources, today)
    return sorted(found, key=lambda each: not each.urgent)


def is_living(release: Release, today: date) -> bool:
    """Does its distribution still look after a release?"""
    return not release.end or release.end >= today.isoformat()


def _keys(distribution: Distribution, today: date) -> Iterator[Finding]:
    """Keys of living releases that have ended, or do so within half a year; each once, with its releases."""
    ends: dict[tuple[str, str], list[str]] = {}
    for release in (*distribution.releases, *distribution.rolling):
        if is_living(release, today):
            for fingerprint, end in merged(distribution, release).get(KEYS, {}).items():
                ends.setdefault((fingerprint, end), []).append(release.name)
    for (fingerprint, end), releases in ends.items():
        whose = f"the key {fingerprint} of {distribution.title} {', '.join(releases)}"
        if end == UNKNOWN:
            yield Finding(UNCONFIRMED, distribution.name, f"no public file says when {whose} ends")
        elif end and date.fromisoformat(end) < today:
            yield Finding(KEY, distribution.name, f"{whose} ended on {end}", urgent=True)
        elif end and date.fromisoformat(end) - today < HALF_A_YEAR:
            yield Finding(KEY, distribution.name, f"{whose} ends on {end}", urgent=True)


def _releases(distribution: Distribution, today: date) -> Iterator[Finding]:
    """Releases that have ended within the last half year, or do so within the next."""
    for release in distribution.releases:
        if not release.end or abs(date.fromisoformat(release.end) - today) >= HALF_A_YEAR:
            continue
        said = "ends" if is_living(release, today) else "ended"
        yield Finding(RELEASE, distribution.name, f"{distribution.title} {release.name} {said} on {release.end}")


def _sources(distribution: Distribution, sources: Iterable[Source], today: date) -> Iterator[Finding]:
    """Facts whose newest source is older than half a year, and those without one, by their day."""
    by_day: dict[date | None, list[str]] = {}
    for fact in names(distribution):
        days = [source.day for source in sources if source.covers(distribution.name, fact)]
        newest = max(filter(None, days), default=None)
        if newest is None or today - newest > HALF_A_YEAR:
            by_day.setdefault(newest, []).append(fact)
    for day, facts in sorted(by_day.items(), key=lambda pair: pair[0] or date.min):
        listed = ", ".join(facts)
        if day is None:
            yield Finding(UNCONFIRMED, distribution.name, f"{distribution.title}: {listed}")
        else:
            yield Finding(OLD, distribution.name, f"{distribution.title}, last seen on {day}: {listed}")
