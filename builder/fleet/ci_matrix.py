"""Spreading images over runners of a CI service: images that share layers meet on one, so that each is built once.

Which stages images share is told here without an engine and without a mirror: by keys over scripts and variables as a
request names them. Of what elements set themselves (environment.d) only the plainest is known, and the state of mirrors
is left out, so two images may turn out to share less. It is about time alone: whatever meets where, the images are the
same.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockdev.core.errors import UsageError
from builder.fleet.image import PlannedBuild
from builder.request.prepared_build import PreparedBuild
from qemu.architecture import ARCHITECTURES, runs
from stages.element.environment import initial
from stages.element.environment_defaults import declared
from stages.element.hooks import merge
from stages.element.package_installs import asked_variables
from stages.plan.plan import make_plan

MOST = 256  # jobs of one matrix: docs.github.com, "Running variations of jobs in a workflow"
# GitHub's own runners by the architecture that they have, as their documentation names them.
RUNNERS = {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
DEFAULT = "amd64"  # whose runners emulate what no runner has


@dataclass(frozen=True)
class Group:
    """Images for one runner, in order, and how many stages those that share the most have in common."""

    images: tuple[str, ...]
    arch: str
    label: str
    stages: int = 0
    shared: int = 0

    @property
    def name(self) -> str:
        """A name for people: the first image's, and how many more there are."""
        more = len(self.images) - 1
        return self.images[0] + (f" and {more} more" if more else "")


def static_keys(prepared: PreparedBuild) -> tuple[str, ...]:
    """The stages of a request by what can be known of them without an engine."""
    elements = [(element.name, element.path) for element in prepared.elements]
    asked = asked_variables(elements)
    settings = declared(prepared.elements, prepared.request.variables, {*asked, "DISTRO_NAME", "DIB_RELEASE"})
    environment = {**dict.fromkeys(asked, ""), **initial(prepared.request, 0), **settings}
    plan = make_plan(prepared.request, elements, merge(elements), environment, ())
    # Scripts often see the release only by what a snippet makes of it; another one's stages are others.
    system = f"{settings.get('DISTRO_NAME', '')} {settings.get('DIB_RELEASE', '')}"
    return tuple(f"{system} {stage.key}" for stage in plan.stages)


def runner_arch(arches: Sequence[str], labels: Mapping[str, str]) -> str:
    """The architecture of the runner for an image: one that runs the first of its architectures by itself, if any does.

    An image for several goes to the default's where that is among them, so that one is not emulated.
    """
    if DEFAULT in arches:
        return DEFAULT
    fit = [arch for arch in labels if arch in ARCHITECTURES and runs(arch, arches[0])]
    exact = [arch for arch in fit if arch == arches[0]]
    return (exact or fit or [DEFAULT])[0]


def groups(
    planned: Sequence[PlannedBuild], *, labels: Mapping[str, str], most: int = MOST, each: int | None = None
) -> list[Group]:
    """Groups of images that share their first stage, at most ``most`` (and 256) of them, of at most ``each`` images.

    ``labels`` are the runners' by architecture. The same images give the same groups, in the images' order. UsageError
    where so few runners cannot do.
    """
    keys = {build.image.name: static_keys(build.prepared) for build in planned}
    arches = {
        build.image.name: runner_arch([request.request.arch for request in build.requests], labels) for build in planned
    }
    return grouped(keys, arches, labels=labels, most=most, each=each)


def grouped(
    keys: Mapping[str, tuple[str, ...]],
    arches: Mapping[str, str],
    *,
    labels: Mapping[str, str],
    most: int = MOST,
    each: int | None = None,
) -> list[Group]:
    """The same from the images' stages and architectures of their runners, by the images' names."""
    most = min(most, MOST)
    by_runner: dict[tuple[str, str], list[str]] = {}
    for name in keys:
        by_runner.setdefault((arches[name], keys[name][0]), []).append(name)
    split = [part for names in by_runner.values() for part in _split(names, keys, each)]
    kinds = sorted({arches[names[0]] for names in split})
    if len(kinds) > most:
        what = f"{most} runners are too few: one for each of {', '.join(kinds)} at least"
        raise UsageError(what, where="--max-runners")
    merged = _merged(split, arches, keys, most, each)
    return [_group(names, arches[names[0]], labels, keys) for names in merged]


def _split(names: Sequence[str], keys: Mapping[str, tuple[str, ...]], each: int | None) -> list[list[str]]:
    """One group in parts of at most ``each``, those that share the most staying together."""
    if each is None or len(names) <= each:
        return [list(names)]
    order = sorted(names, key=lambda name: keys[name])  # beginnings that are the same lie side by side
    parts = [order[at : at + each] for at in range(0, len(order), each)]
    return [sorted(part, key=list(names).index) for part in parts]


def _common(first: tuple[str, ...], other: tuple[str, ...]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, other, strict=False)))


def _merged(
    split: Sequence[list[str]],
    arches: Mapping[str, str],
    keys: Mapping[str, tuple[str, ...]],
    most: int,
    each: int | None,
) -> list[list[str]]:
    """The groups put together until they are few enough: the smallest goes to the one that shares the most with it."""
    parts = [list(part) for part in split]
    while len(parts) > most:
        for small in sorted(parts, key=lambda part: (_work(part, keys), part)):
            others = [
                part
                for part in parts
                if part is not small
                and arches[part[0]] == arches[small[0]]
                and (each is None or len(part) + len(small) <= each)
            ]
            if others:
                break
        else:
            raise UsageError(
                f"{most} runners with at most {each} images each are too few for {len(keys)} images",
                where="--max-runners",
                hint="raise one of the two",
            )
        target = min(others, key=lambda part: (-_common(keys[part[0]], keys[small[0]]), _work(part, keys), part))
        target += small
        parts.remove(small)
    return parts


def _work(names: Sequence[str], keys: Mapping[str, tuple[str, ...]]) -> int:
    """The different stages that a group has."""
    return len({key for name in names for key in keys[name]})


def _group(names: Sequence[str], arch: str, labels: Mapping[str, str], keys: Mapping[str, tuple[str, ...]]) -> Group:
    pairs = itertools.combinations(names, 2)
    shared = max((_common(keys[first], keys[other]) for first, other in pairs), default=0)
    return Group(tuple(names), arch, labels.get(arch, RUNNERS[DEFAULT]), _work(names, keys), shared)


def as_matrix(in_groups: Sequence[Group]) -> dict[str, Any]:
    """The value of ``strategy.matrix``: ``include`` with a job for each group; ``images`` are for the command line."""
    return {
        "include": [
            {"name": group.name, "images": " ".join(group.images), "arch": group.arch, "runs-on": group.label}
            for group in in_groups
        ]
    }


def as_rows(in_groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """A table for people."""
    rows: list[tuple[str, ...]] = [("runs-on", "stages", "shared", "images")]
    rows += [(group.label, str(group.stages), str(group.shared), ", ".join(group.images)) for group in in_groups]
    return rows
