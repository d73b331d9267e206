"""The release and the architecture of a request, looked up before any work starts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from builder.request.releases.support import judge, own_source
from builder.request.variables import EPOCH
from stages.element.environment import RELEASE
from stages.element.environment_defaults import declared
from stages.element.release_facts import distribution_of as _of_folder
from stages.element.resolve import Element


def distribution_of(element: Element) -> str:
    """The distribution (DISTRO_NAME) whose operating system an element is, as it says itself; "" for all others."""
    return _of_folder(element.path)


def today(variables: Mapping[str, str]) -> date:
    """The day that the build is for: SOURCE_DATE_EPOCH's, or this one."""
    return datetime.fromtimestamp(int(variables.get(EPOCH) or time.time()), UTC).date()


def about(elements: Sequence[Element], variables: Mapping[str, str], arch: str) -> tuple[str, ...]:
    """What the user should know of the release that is to be built; raises UsageError where there is no such one.

    Nothing is said where no element names its distribution.
    """
    name = next(filter(None, map(distribution_of, elements)), "")
    if not name:
        return ()
    release = declared(elements, variables, [RELEASE]).get(RELEASE, "")
    return judge(name, release, arch, today(variables), own=own_source(variables))
