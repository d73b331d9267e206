"""May this release be built for this architecture, and what is to be said about it: decided from the facts alone.

Names that are not on the list are refused, except numbers above the newest known one, and whatever comes from a source
that the user named: nobody can list private distributions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from stages.distributions.facts import merged
from stages.distributions.table import Distribution, Release, find

# Variables with which the user names the source of the distribution's packages, or of its tree.
OWN_SOURCES = (
    *("DIB_DISTRIBUTION_MIRROR", "DIB_DEBIAN_DISTRIBUTION_MIRROR", "DIB_APT_SOURCES_CONF"),
    *("DIB_YUM_MINIMAL_BOOTSTRAP_REPOS", "DIB_CONTAINER_IMAGE", "DIB_CONTAINERFILE_DOCKERFILE"),
)


def own_source(variables: Mapping[str, str]) -> bool:
    """Did the user say where the distribution comes from."""
    return any(variables.get(name) for name in OWN_SOURCES)


def judge(name: str, release: str, arch: str, today: date, *, own: bool = False) -> tuple[str, ...]:
    """What the user should know of a distribution's release (DISTRO_NAME, DIB_RELEASE) for an architecture.

    ``arch`` is Debian's name; a release that is not known ("") has any of the distribution's. ``own`` says that the
    source is one of the user's. Raises UsageError for a release or an architecture that there is not; nothing is said
    of a distribution that is not known.
    """
    distribution = find(name)
    if distribution is None:
        return ()
    notes = []
    match = distribution.find(release) if release else Release(name="")
    if match is None and _is_newer(distribution, release):
        notes.append(f"{distribution.title} {release} is newer than any release that is known here")
    elif match is None:
        if not own:
            raise _unknown(distribution, release)
        meant = nearest(release, distribution.names)
        notes.append(
            f"{distribution.title} has no release {release!r} that is known here{_in_brackets(meant)}:"
            " it is taken for one of your own, since you name its source"
        )
    fitting = (match.architectures if match else ()) or tuple(distribution.architectures)
    if arch not in fitting:
        error = _unfitting(distribution, match or Release(name=release), fitting, arch, today)
        if not own:
            raise error
        notes.append(f"{error.what}: your own source is asked for it")
    return (*notes, *ended(name, release, today))


def ended(name: str, release: str, today: date) -> tuple[str, ...]:
    """A sentence where a known release is past its end."""
    distribution = find(name)
    match = distribution.find(release) if distribution else None
    if distribution is None or match is None or not _is_over(match, today):
        return ()
    sentence = f"{distribution.title} {release} is at the end of its life: no security updates since {match.end}"
    archive = merged(distribution, match).get("archive")
    return (f"{sentence}; what mirrors no longer keep of it is at {archive}" if archive else sentence,)


def described(name: str) -> list[str]:
    """A distribution's releases, the newest first, each with its end where it has one; empty for an unknown one."""
    distribution = find(name)
    if distribution is None:
        return []
    rolling = [release.name for release in distribution.rolling]
    return [*rolling, *(_described(release) for release in distribution.releases)]


def architectures(name: str) -> list[str]:
    """The architectures that a distribution has in any release; empty for an unknown one."""
    distribution = find(name)
    return list(distribution.architectures) if distribution else []


def _described(release: Release) -> str:
    about = [release.version] if release.version else []
    about += [f"until {release.end}"] if release.end else []
    return f"{release.name} ({', '.join(about)})" if about else release.name


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _is_newer(distribution: Distribution, release: str) -> bool:
    full = distribution.full(release)
    if not distribution.newer or not re.fullmatch(distribution.newer, full):
        return False
    return _numbers(full) > max(_numbers(each.name) for each in distribution.releases)


def _unknown(distribution: Distribution, release: str) -> UsageError:
    by_version = next((each for each in distribution.releases if each.version == release), None)
    meant = f"its name is {by_version.name!r}" if by_version else nearest(release, distribution.names)
    there = f"there is: {', '.join(distribution.names)}"
    own = "one of your own needs its mirror: --set DIB_DISTRIBUTION_MIRROR=ADDRESS"
    hint = "; ".join(filter(None, (meant, there, own)))
    return UsageError(f"{distribution.title} has no release {release!r}", where="DIB_RELEASE", hint=hint)


def _unfitting(
    distribution: Distribution, release: Release, fitting: tuple[str, ...], arch: str, today: date
) -> UsageError:
    what = f"{distribution.title} {release.name}".strip()
    hints = [f"it is made for {', '.join(fitting)}"]
    living = [*reversed([each for each in distribution.releases if not _is_over(each, today)])]
    others = [
        each for each in (*living, *distribution.rolling) if arch in (each.architectures or distribution.architectures)
    ]
    if others:
        hints.append(f"{distribution.title} {others[0].name} is made for {arch}")
    return UsageError(f"{what} is not made for {arch}", where="--arch", hint="; ".join(hints))


def _is_over(release: Release, today: date) -> bool:
    return bool(release.end) and release.end < today.isoformat()
