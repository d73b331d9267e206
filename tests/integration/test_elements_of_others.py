"""Elements of others, as they are published: each loads, is checked and is planned on Debian, and is built where asked.

Packages of a Python index under Apache's licence are fetched (``tests/upstream.py``). For other collections
``DIB_CTR_TEST_ELEMENTS`` names folders of elements, separated by colons; an element written ``FOLDER=NAME`` is built
on Debian, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.elements.check.run import check
from stages.element.resolve import BUILTIN, find_elements, resolve
from tests import upstream
from tests.compat import dib
from tests.integration.engine_cases import missing

CHECKOUT = Path(__file__).parents[2]
GIVEN = [word for word in os.environ.get("DIB_CTR_TEST_ELEMENTS", "").split(":") if word]
COLLECTIONS = [*upstream.OTHERS, *upstream.SOURCES, *dict.fromkeys(word.partition("=")[0] for word in GIVEN)]
BUILT = [word for word in GIVEN if "=" in word]
# What an element itself refuses on Debian, by the collection's name and its own.
REFUSED = {
    ("octavia", "amphora-fips"): "debian is not supported for FIPS mode",
    ("ironic-python-agent-builder", "burn-in"): "names IPA_DISTRO_FAMILY, which is not set",  # nor there
    ("sahara-image-elements", "hdp-local-mirror"): "Unsupported distro: debian",
    ("tripleo-image-elements", "overcloud-partition-uefi"): "xfs needs 300 MiB at least",  # mkfs.xfs says so, too
}
# A place that no test can ask: what is planned would depend on what is there.
ELSEWHERE = re.compile(r"the source repository .* (does not answer|cannot be reached)|Could not resolve host")


def folder(name: str) -> Path:
    """The folder of a collection: a package's, or one that was named."""
    if name not in {*upstream.OTHERS, *upstream.SOURCES}:
        return Path(name).resolve()
    try:
        return upstream.others(name)
    except RuntimeError as error:
        missing(str(error))
        raise


@pytest.mark.parametrize("name", COLLECTIONS)
def test_all_load_without_an_error(name: str, upstream_elements: Path) -> None:
    own = folder(name)
    found = check([own, upstream_elements, BUILTIN], hidden=[upstream_elements, BUILTIN])
    assert found.elements
    assert [finding for finding in found.findings if finding.severity == "error"] == []


def asked(name: str, path: list[Path]) -> list[str] | None:
    """An element with the system that it can stand on; None where that is none of Debian's."""
    known = find_elements(path)
    for words in ([name], [name, "debian-minimal"], [name, "debian-minimal", "block-device-mbr"]):
        try:
            resolve(words, known)
        except UsageError:
            continue
        return words
    return None


def command(place: Path, path: list[Path], *words: str) -> subprocess.CompletedProcess[str]:
    """Run dib-ctr with the elements of these folders."""
    given = {name: value for name, value in dib.variables().items() if name != "DIB_APT_SOURCES_CONF"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIB_")}
    environment |= {"PYTHONPATH": str(CHECKOUT), "DIB_CTR_STORE": str(place / "store"), **given}
    places = ":".join(map(str, path))
    first, *more = words
    return subprocess.run(
        [sys.executable, "-m", "builder.cli", first, "--engine", "host", "--elements-path", places, *more],
        env=environment,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )


@pytest.mark.slow
@pytest.mark.thorough("plans of some 90 elements, two seconds each")
@pytest.mark.parametrize("name", COLLECTIONS)
def test_each_is_planned(
    name: str, place: Path, upstream_elements: Path, record_property: Callable[[str, object], None]
) -> None:
    own = folder(name)
    path = [own, upstream_elements]
    wrong, outcomes = [], {"planned": 0, "refused by itself": 0, "asks another place": 0, "needs another system": 0}
    for element in sorted(each.name for each in own.iterdir() if each.is_dir() and not each.name.startswith("__")):
        words = asked(element, path)
        if words is None:
            outcomes["needs another system"] += 1
            continue
        done = command(place, path, "plan", "-o", "tar", *words)
        said = done.stdout + done.stderr
        if done.returncode == 0:
            outcomes["planned"] += 1
        elif (text := REFUSED.get((name, element))) and text in said:
            outcomes["refused by itself"] += 1
        elif ELSEWHERE.search(said):
            outcomes["asks another place"] += 1
        else:
            wrong.append(f"{element}: {said[-800:]}")
    record_property("table", f"{name}: {', '.join(f'{kind} {number}' for kind, number in outcomes.items())}")
    assert not wrong, "\n".join(wrong)
    assert outcomes["planned"]


@pytest.mark.slow
@pytest.mark.thorough("whole systems, where somebody asks for them")
@pytest.mark.parametrize("word", BUILT)
def test_those_that_are_asked_for_are_built(word: str, place: Path, upstream_elements: Path) -> None:
    name, _, element = word.partition("=")
    path = [folder(name), upstream_elements]
    words = asked(element, path)
    assert words, f"{element} has no system"
    done = command(place, path, "build", "-o", "tar", "--name", "it", "--dest", str(place), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "it.tar").stat().st_size
