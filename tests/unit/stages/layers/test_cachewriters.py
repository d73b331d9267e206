"""Who may have written into a cache that no list vouches for: builds share it where that is the same for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.layers.cache_writers import writers
from stages.plan.offline import offline_plan
from stages.plan.plan import Plan, Stage
from stages.repositories.state import State
from tests.unit.stages.plan.plan_cases import BASE, REQUEST, VARIABLES, plan_of

FILES = {
    **BASE,
    "a/extra-data.d/50-fetch": "#!/bin/bash\ncurl -o $DIB_IMAGE_CACHE/x http://x $http_proxy\n",
    "a/install.d/55-pkg": "#!/bin/bash\napt-get install -y hello\n",
}
STATE = State("http://mirror/dists/x/InRelease", "digest-1", 5)


def uses_cache(stage: Stage) -> bool:
    return stage.image_cache


def plan(place: Path, files: Mapping[str, str], variables: Mapping[str, str] = VARIABLES, digest: str = "1") -> Plan:
    place.mkdir()
    request = dataclasses.replace(REQUEST, elements=tuple(sorted({path.partition("/")[0] for path in files})))
    state = dataclasses.replace(STATE, digest=digest)
    return plan_of(place, files, variables=variables, states=(state,), request=request)


@pytest.mark.parametrize(
    "evil",
    [
        {"evil/extra-data.d/40-write": "#!/bin/bash\necho evil > $DIB_IMAGE_CACHE/x\n"},
        {"evil/root.d/50-tree": "#!/bin/bash\necho evil > $TARGET_ROOT/usr/bin/pip\n"},  # what another script may run
        {"a/extra-data.d/50-fetch": FILES["a/extra-data.d/50-fetch"] + "echo evil > $DIB_IMAGE_CACHE/x\n"},
        {"a/extra-data.d/static-of-mine": "data"},
        {"os/root.d/10-os": "#!/bin/bash\nmkdir $TARGET_ROOT/evil\n"},
    ],
)
def test_another_script_before_the_last_that_sees_the_cache_is_another_writer(
    tmp_path: Path, evil: Mapping[str, str]
) -> None:
    own = plan(tmp_path / "own", FILES)
    other = plan(tmp_path / "other", {**FILES, **evil})
    assert writers(own.stages, uses_cache) != writers(other.stages, uses_cache)


def test_a_variable_that_a_script_is_given_is_a_writer_s(tmp_path: Path) -> None:
    files = {**FILES, "a/extra-data.d/40-see": "#!/bin/bash\necho $DIB_SEEN\n"}
    own = plan(tmp_path / "own", files)
    other = plan(tmp_path / "other", files, {**VARIABLES, "DIB_SEEN": "evil"})
    assert writers(own.stages, uses_cache) != writers(other.stages, uses_cache)


def test_what_comes_later_and_what_moves_is_no_writer_s(tmp_path: Path) -> None:
    """An edited script that runs after the last one that sees the cache costs no clone."""
    own = plan(tmp_path / "own", FILES)
    later = plan(tmp_path / "later", {**FILES, "b/install.d/10-edited": "#!/bin/bash\ntrue\n"})
    moved = plan(tmp_path / "moved", FILES, {**VARIABLES, "SOURCE_DATE_EPOCH": "2", "http_proxy": "http://x"}, "2")
    cut = offline_plan(own, [False] * len(own.stages))
    assert {writers(each.stages, uses_cache) for each in (later, moved, cut)} == {writers(own.stages, uses_cache)}
