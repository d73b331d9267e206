"""Plans: which stages there are, in which order, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.element.hook_checks import refuse_odd
from stages.element.hooks import HookFile, merge, script_order
from stages.protocol.request import Output, Request
from tests.unit.stages.plan.plan_cases import BASE, REQUEST, VARIABLES, changed, keys, plan_of, write


def test_stages_are_in_the_order_of_phases_and_numbers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, BASE)
    assert [stage.title for stage in plan.stages] == [
        "root/os/10-os",
        "root/dib-ctr/prepare-tree",
        "install/a/50-see",
        "install/a/60-last",
        "cleanup/a/10-clean",
        "cleanup/dib-ctr/seal-tree",
    ]
    assert [stage.phase.inside for stage in plan.stages] == [False, False, True, True, False, False]


def test_scripts_sort_by_leading_number_and_then_bytewise() -> None:
    names = ["100-z", "9-a", "10-b", "open-iscsi", "00-first", "01-00-x", "10-a"]
    assert sorted(names, key=script_order) == ["00-first", "open-iscsi", "01-00-x", "9-a", "10-a", "10-b", "100-z"]


def test_named_packages_are_a_stage_after_install(tmp_path: Path) -> None:
    files = {**BASE, "a/post-install.d/10-p": "#!/bin/bash\n", "a/bin/install-packages": "#!/bin/bash\napt-get\n"}
    plan = plan_of(tmp_path, files, request=dataclasses.replace(REQUEST, packages=("hello", "jq")))
    titles = [stage.title for stage in plan.stages]
    assert titles.index("install/dib-ctr/named-packages") == titles.index("install/a/60-last") + 1
    stage = plan.find("named-packages")
    assert stage.files["dib-ctr.d/named-packages.list"].data == b"hello\njq\n"
    assert stage.packages


def test_a_package_list_concerns_only_the_phase_that_reads_it(tmp_path: Path) -> None:
    script = "#!/bin/bash\ncat /tmp/in_target.d/package-installs.d/{}.d/install\n"
    files = {
        **BASE,
        "a/pre-install.d/10-p": script.format("pre-install"),
        "a/install.d/01-p": script.format("install"),
    }
    before = plan_of(tmp_path, files)
    after = plan_of(tmp_path, {"a/package-installs.yaml": "hello:\n"})
    assert "pre-install/a/10-p" not in changed(before, after)
    assert "install/a/01-p" in changed(before, after)


def test_a_built_in_stage_with_nothing_to_install_is_no_stage(tmp_path: Path) -> None:
    script = "#!/bin/bash\ncat /tmp/in_target.d/package-installs.d/install.d/install\n"
    files = {**BASE, "p/install.d/01-p": script}
    builtin = dataclasses.replace(REQUEST, builtin=("p",))
    assert "install/p/01-p" in keys(plan_of(tmp_path, files))
    plan = plan_of(tmp_path, request=builtin)
    assert "install/p/01-p" not in keys(plan)
    assert [stage.number for stage in plan.stages] == list(range(1, len(plan.stages) + 1))
    assert "install/p/01-p" in keys(plan_of(tmp_path, {"a/package-installs.yaml": "hello:\n"}, request=builtin))


def test_scripts_of_the_chosen_install_type_become_scripts_of_install(tmp_path: Path) -> None:
    files = {
        **BASE,
        "a/install.d/pip-source-install/70-pip": "#!/bin/bash\necho source\n",
        "a/install.d/pip-package-install/71-pip": "#!/bin/bash\necho package\n",
    }
    assert not any("pip" in stage.title for stage in plan_of(tmp_path, files).stages)  # nobody asked for install types
    files["install-types/README.md"] = "It is there.\n"
    titles = [stage.title for stage in plan_of(tmp_path, files).stages]
    assert "install/a/70-pip" in titles
    assert "install/a/71-pip" not in titles
    titles = [
        stage.title for stage in plan_of(tmp_path, variables={**VARIABLES, "DIB_INSTALLTYPE_pip": "package"}).stages
    ]
    assert "install/a/71-pip" in titles
    assert "install/a/70-pip" not in titles


def test_two_elements_with_one_script_are_refused(tmp_path: Path) -> None:
    elements = write(tmp_path, {**BASE, "b/install.d/50-see": "#!/bin/bash\n"})
    with pytest.raises(UsageError, match="two elements bring the same file"):
        merge(elements)


def test_what_is_numbered_but_will_not_run_is_left_out(tmp_path: Path) -> None:
    elements = write(tmp_path, {**BASE, "b/install.d/50-x.sh": "#!/bin/bash\n", "b/install.d/51-y": "#!/bin/bash\n"})
    (tmp_path / "b/install.d/51-y").chmod(0o644)
    refuse_odd(merge(elements).values(), dict(elements))
    titles = {stage.title for stage in plan_of(tmp_path).stages}
    assert not titles & {"install/b/50-x.sh", "install/b/51-y"}


def test_what_cannot_start_is_refused(tmp_path: Path) -> None:
    for first in ("#!/bin/bash\r\n", "#!bash\n", "#!\n"):
        elements = write(tmp_path, {**BASE, "b/install.d/50-x": first})
        with pytest.raises(UsageError, match="50-x cannot start"):
            refuse_odd(merge(elements).values(), dict(elements))


def test_stages_are_found_by_number_name_and_title(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {**BASE, "b/install.d/10-clean": "#!/bin/bash\n"})
    for name in ("3", "install/b/10-clean", "install/10-clean", "install.d/10-clean"):
        assert plan.find(name).title == "install/b/10-clean"
    with pytest.raises(UsageError, match="several stages"):
        plan.find("10-clean")
    with pytest.raises(UsageError) as caught:
        plan.find("50-sea")
    assert "50-see" in caught.value.hint


def test_a_request_survives_its_json() -> None:
    request = dataclasses.replace(
        REQUEST, outputs=(Output("oci", {"layers": "stages"}),), packages=("a",), breaks=("error",)
    )
    assert Request.from_json(request.to_json()) == request


def test_binary_files_name_nothing() -> None:
    assert HookFile("bin/x", "a", 0o755, b"\0apt-get").text == ""
