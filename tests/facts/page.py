"""The facts as a table for people: a line for each distribution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stages.distributions.facts import KEYS, merged
from stages.distributions.table import Distribution
from tests.facts.files import Family

HEAD = (
    "| distribution | releases, with their ends | made for | installs with | rpm's database | first end of a key |",
    "| --- | --- | --- | --- | --- | --- |",
)


def table(families: Iterable[Family]) -> str:
    """The distributions of all files as Markdown."""
    lines = [_line(each) for family in families for each in family.distributions]
    return "\n".join([*HEAD, *sorted(lines, key=str.casefold)])


def _line(distribution: Distribution) -> str:
    facts = merged(distribution, None)
    cells = (
        distribution.title,
        ", ".join(_releases(distribution)),
        " ".join(distribution.architectures),
        _managers(distribution),
        _database(facts.get("rpm", {})),
        _first_end(distribution),
    )
    return f"| {' | '.join(cells)} |"


def _releases(distribution: Distribution) -> Iterator[str]:
    for release in distribution.releases:
        yield f"{release.name} ({release.end})" if release.end else release.name
    yield from (release.name for release in distribution.rolling)


def _managers(distribution: Distribution) -> str:
    """The package managers of the bootstrap and of the trees, each once, the newest release's first."""
    named = [merged(distribution, each)["package-manager"] for each in (*distribution.releases, *distribution.rolling)]
    return ", ".join(dict.fromkeys(manager for each in named for manager in (each["build"], each["tree"]) if manager))


def _database(rpm: Mapping[str, Any]) -> str:
    return f"{rpm['backend']}, `{rpm['path']}`" if rpm else "-"


def _first_end(distribution: Distribution) -> str:
    """The first day on which a key of any release ends."""
    ends = set()
    for release in (*distribution.releases, *distribution.rolling):
        ends |= set(merged(distribution, release).get(KEYS, {}).values())
    if "unconfirmed" in ends:
        return "unconfirmed"
    return min(filter(None, ends), default="none ends")
