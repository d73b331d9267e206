"""Which stages of a build that begins with an image ask repositories."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from stages.element.hooks import merge
from stages.element.resolve import BUILTIN
from stages.plan.plan import asks_repositories, make_plan
from stages.plan.repository_use import BASE_IMAGE, CARETAKERS, CONDITIONAL, ONLY_WITH, REFRESH
from stages.protocol.request import Request
from tests.unit.stages.plan.plan_cases import REQUEST, VARIABLES, write

IMAGE = {**VARIABLES, BASE_IMAGE: "/dib-ctr/base-image.tar", "DISTRO_NAME": "debian"}
NAMES = ("base-image", "dpkg", "install-bin", "package-installs", "pkg-map")
INSTALLING = re.compile(
    r"^\s*(?:exec )?(?:install-packages|refresh-package-lists|apt-get|apt|dnf|zypper|pacman|apk|emerge)\b", re.MULTILINE
)


def elements(own: Path, text: str) -> list[tuple[str, Path]]:
    return [*((name, BUILTIN / name) for name in NAMES), *write(own, {"own/install.d/50-own": text})]


def asks(own: Path, text: str, variables: dict[str, str] = IMAGE, request: Request = REQUEST) -> bool:
    """Does the plan of the elements with a script ask; its stages with repositories are looked at, too."""
    found = elements(own, text)
    request = dataclasses.replace(request, builtin=NAMES)
    asking = asks_repositories(request, found, merge(found), variables)
    plan = make_plan(request, found, merge(found), variables, (), asking=asking)
    assert (REFRESH.rpartition("/")[2] in {stage.name for stage in plan.stages}) == asking
    if not asking:
        assert not [stage.title for stage in plan.stages if stage.packages or stage.network]
    return asking


def test_what_brings_no_package_asks_none(tmp_path: Path) -> None:
    assert not asks(tmp_path, "#!/bin/bash\necho own > /etc/own\n")


@pytest.mark.parametrize("text", ["apt-get install -y hello", "install-packages hello", "dnf makecache"])
def test_a_script_that_names_a_package_tool_asks(tmp_path: Path, text: str) -> None:
    assert asks(tmp_path, f"#!/bin/bash\n{text}\n")


def test_named_packages_ask(tmp_path: Path) -> None:
    assert asks(tmp_path, "#!/bin/bash\ntrue\n", request=dataclasses.replace(REQUEST, packages=("hello",)))


def test_a_tree_that_is_made_of_packages_always_asks(tmp_path: Path) -> None:
    found = elements(tmp_path, "#!/bin/bash\ntrue\n")
    assert asks_repositories(REQUEST, found, merge(found), VARIABLES)


def test_all_scripts_that_install_are_known() -> None:
    """Of the elements that look after package tools; those of root.d make a tree, which is there with an image."""
    known = {*CONDITIONAL, *ONLY_WITH, REFRESH}
    found = {
        f"{file.parent.name}/{file.name}"
        for name in CARETAKERS
        for file in (BUILTIN / name).glob("*.d/*")
        if file.is_file() and INSTALLING.search(file.read_text(encoding="utf-8"))
    }
    assert {path for path in found if not path.startswith(("root.d/", "environment.d/", "apk.d/"))} == known
