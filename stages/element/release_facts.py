"""Which distribution's release the elements build, and what is known of it, as variables for ``environment.d``.

An element says in its file ``distribution`` (one word) which one it is of; others say DISTRO_NAME in ``environment.d``,
as the release is said there, or the user says it. Of a snippet that is more than an assignment nothing is known before
it has run: then the snippets are sourced once more, with the facts of the release that they have set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.distributions import facts
from stages.distributions.table import find
from stages.element.environment import RELEASE
from stages.element.environment_defaults import declared
from stages.element.resolve import Element

FILE = "distribution"
DISTRIBUTION = "DISTRO_NAME"


@dataclass(frozen=True)
class BuiltRelease:
    """A release by DISTRO_NAME and DIB_RELEASE ("": not known), and the architecture that is built (Debian's name)."""

    distribution: str
    release: str
    arch: str

    def facts(self) -> dict[str, str]:
        """What is known of it, as variables; none for a distribution that is not known."""
        distribution = find(self.distribution)
        return facts.variables(distribution, self.release, self.arch) if distribution else {}

    def after(self, captured: Mapping[str, str]) -> BuiltRelease:
        """The same by what the snippets have said."""
        distribution = captured.get(DISTRIBUTION) or self.distribution
        return BuiltRelease(distribution, captured.get(RELEASE) or self.release, self.arch)


def distribution_of(folder: Path) -> str:
    """The distribution (DISTRO_NAME) that an element in a folder is of, as it says itself; "" for all others."""
    file = folder / FILE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def built_release(elements: Sequence[tuple[str, Path]], variables: Mapping[str, str], arch: str) -> BuiltRelease:
    """The release that elements (name and folder) build, as far as it can be read before their snippets run."""
    settings = declared([Element(*each) for each in elements], variables, [DISTRIBUTION, RELEASE])
    own = next(filter(None, (distribution_of(folder) for _, folder in elements)), "")
    return BuiltRelease(settings.get(DISTRIBUTION) or own, settings.get(RELEASE, ""), arch)
