"""Each fault in an element is told with just the lines that ``expected.txt`` beside it holds.

A case is a folder of ``bad_elements`` with an elements path in ``elements``; ``asked.txt`` has the names that are
checked, where these are not all.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockdev.configuration.check import check as check_nodes
from blockdev.configuration.read import read as read_block_devices
from blockdev.core.errors import UsageError
from builder.commands.elements import elements as command
from builder.elements.check import dependencies
from builder.elements.check import report as formats
from builder.elements.check.run import Report, check
from stages.element import image_config, source_repositories
from stages.element.cache_rules import read_cache_rules
from stages.element.dib_runtime import repository_files
from stages.element.hook_checks import refuse_odd
from stages.element.hooks import merge
from stages.element.package_installs import package_installs, read_pkg_maps, render_svc_map
from stages.element.resolve import BUILTIN, Element, find_elements, resolve

FOLDER = Path(__file__).parents[2] / "bad_elements"
CASES = sorted(FOLDER.iterdir())
# Looked at where the image's elements are (test_check_image.py): what a script says.
ONLY_CHECKED = {"script-syntax", "command-syntax", "snippet-syntax"}


def names(case: Path) -> list[str]:
    file = case / "asked.txt"
    return file.read_text(encoding="utf-8").split() if file.is_file() else []


def report(case: Path) -> Report:
    return check([case / "elements"], names(case))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_found_with_these_lines(case: Path) -> None:
    found = formats.text(report(case)).replace(f"{case / 'elements'}/", "")
    assert f"{found}\n" == (case / "expected.txt").read_text(encoding="utf-8")


def prepare(case: Path) -> None:
    """What a build reads of its elements before it runs anything, in a build of all elements of the case."""
    universe = dict(find_elements([case / "elements"]))
    system = "a-system"
    universe[system] = Element(system, BUILTIN / "pkg-map", (), ("operating-system",))
    found = [element for element in resolve(sorted(universe), universe).elements if element.name != system]
    elements = [(element.name, element.path) for element in found]
    refuse_odd(merge(elements).values(), dict(elements))
    package_installs(elements, {"ARCH": "amd64", "DISTRO_NAME": "debian"})
    read_pkg_maps(elements)
    render_svc_map(elements, "debian")
    read_cache_rules(elements)
    image_config.read(folder for _, folder in elements if (folder / image_config.FILE).is_file())
    source_repositories.read(repository_files(elements), {})
    for _, folder in elements:
        for file in folder.glob("block-device-*.yaml"):
            check_nodes(read_block_devices(file.read_text(encoding="utf-8"), str(file)))


def refusal(case: Path) -> str:
    try:
        prepare(case)
    except UsageError as error:
        return f"{error}\n".replace(f"{case / 'elements'}/", "")
    return ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_build_of_all_refuses_what_stops_it_with_this_message_and_takes_what_is_only_odd(case: Path) -> None:
    file = case / "build.txt"
    assert refusal(case) == (file.read_text(encoding="utf-8") if file.is_file() else "")


def test_what_is_an_error_stops_a_build() -> None:
    missing = {case.name for case in CASES if report(case).count("error") and not (case / "build.txt").is_file()}
    assert missing == ONLY_CHECKED


def test_the_built_in_elements_are_without_fault() -> None:
    found = check([BUILTIN])
    assert found.findings == ()
    assert len(found.elements) == len(find_elements([BUILTIN]))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def path(case: str) -> str:
    return f"--elements-path={FOLDER / case / 'elements'}"


def test_the_status_is_1_for_errors_and_if_wished_for_warnings() -> None:
    assert run("--check", path("script-interpreter")).exit_code == 1
    assert run("--check", path("no-readme")).exit_code == 0
    assert run("--check", "--strict", path("no-readme")).exit_code == 1


def test_only_the_named_are_looked_at() -> None:
    assert run("--check", path("deps-comment"), "two").exit_code == 0
    done = run("--check", path("same-script-apart"), "one", "two")
    assert done.exit_code == 1
    assert "install.d/50-it is in one and in two [same-file]" in done.output


def test_a_name_that_is_no_element_is_refused() -> None:
    assert isinstance(run("--check", path("no-readme"), "on").exception, UsageError)
    file = run("--check", path("element-is-file"), "one").exception
    assert isinstance(file, UsageError)
    assert file.where.endswith("element-is-file/elements/one")


def test_json() -> None:
    done = run("--check", "--json", path("installs-rule"))
    found = json.loads(done.output)
    assert (found["elements"], found["error"], found["warning"]) == (["one"], 1, 0)
    only = found["findings"][0]
    assert (only["element"], only["code"], only["line"]) == ("one", "package-installs", 2)
    assert only["file"].endswith("one/package-installs.yaml")


def test_github() -> None:
    lines = run("--check", "--format=github", path("installs-rule")).output.splitlines()
    place = f"file={FOLDER}/installs-rule/elements/one/package-installs.yaml,line=2"
    assert lines == [f"::error {place},title=package-installs::expected a mapping, found 'install.d'"]


@pytest.mark.parametrize(
    "arguments",
    [["--env"], ["--strict"], ["--format=text"], ["--format=element-info"], ["--check", "--json", "--format=github"]],
)
def test_options_that_do_not_go_together(arguments: list[str]) -> None:
    assert isinstance(run(*arguments).exception, UsageError)


def test_one_element_says_which_folder_is_used_and_which_is_not(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder / "vm").mkdir(parents=True)
    done = run(f"--elements-path={tmp_path}/first:{tmp_path}/second", "vm")
    assert f"path: {tmp_path}/first/vm\n" in done.output
    assert f"instead of: {tmp_path}/second/vm, {BUILTIN}/vm" in done.output
    found = check([tmp_path / "first", tmp_path / "second"]).findings
    assert [finding.code for finding in found if finding.severity == "note"] == ["shadows"]


def test_cycles_are_groups() -> None:
    universe = {
        name: Element(name, Path(name), tuple(deps))
        for name, deps in {"a": "bx", "b": "c", "c": "a", "d": "ad", "e": "f", "f": "e"}.items()
    }
    assert dependencies.cycles(universe) == [("a", "b", "c"), ("e", "f")]


def test_what_is_provided_is_no_part_of_a_closure() -> None:
    universe = {
        "disk": Element("disk", Path("disk"), ()),
        "vm": Element("vm", Path("vm"), ("disk", "other")),
        "mbr": Element("mbr", Path("mbr"), (), ("disk",)),
    }
    assert dependencies.closure(["vm", "mbr"], universe) == {"vm", "mbr"}
    assert dependencies.closure(["vm"], universe) == {"vm", "disk"}
