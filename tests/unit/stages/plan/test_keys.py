"""Keys: what each stage sees, what its key covers and what not, and the reasons for a miss."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from stages.element.environment import as_functions
from stages.element.source_repositories import Source
from stages.layers.stage_environment import stage_environment
from stages.plan.key import key_of, why_missed
from stages.plan.offline import CUT, offline_plan
from stages.repositories.source_state import SourceState
from stages.repositories.state import State
from tests.unit.stages.plan.plan_cases import BASE, REQUEST, VARIABLES, changed, keys, plan_of


def test_a_changed_script_changes_its_stage_and_those_after_it_and_nothing_before(tmp_path: Path) -> None:
    before = plan_of(tmp_path, BASE)
    after = plan_of(tmp_path, {"a/install.d/50-see": "#!/bin/bash\necho 2 $DIB_SEEN\n"})
    assert changed(before, after) == {
        "install/a/50-see",
        "install/a/60-last",
        "cleanup/a/10-clean",
        "cleanup/dib-ctr/seal-tree",
    }


def test_a_variable_counts_only_from_the_first_script_that_can_read_it(tmp_path: Path) -> None:
    before = plan_of(tmp_path, BASE)
    assert changed(before, plan_of(tmp_path, variables={**VARIABLES, "DIB_OTHER": "3", "DIB_NEW": "4"})) == set()
    seen = changed(before, plan_of(tmp_path, variables={**VARIABLES, "DIB_SEEN": "3"}))
    assert seen == {"install/a/50-see", "install/a/60-last", "cleanup/a/10-clean", "cleanup/dib-ctr/seal-tree"}
    see = before.find("50-see")
    assert see.environment == {
        **{name: VARIABLES[name] for name in ("ARCH", "LC_ALL", "SOURCE_DATE_EPOCH")},
        "DIB_SEEN": "1",
    }


def test_the_time_of_a_file_is_no_part_of_a_key_but_its_mode_is(tmp_path: Path) -> None:
    before = plan_of(tmp_path, {**BASE, "a/static/etc/x": "x"})
    os.utime(tmp_path / "a/install.d/50-see", (1, 1))
    assert changed(before, plan_of(tmp_path)) == set()
    (tmp_path / "a/static/etc/x").chmod(0o755)
    assert "install/a/50-see" in changed(before, plan_of(tmp_path))


def test_a_stage_sees_its_own_data_and_what_it_names_and_no_more(tmp_path: Path) -> None:
    files = {
        **BASE,
        "a/install.d/data": "mine",
        "a/static/etc/a": "mine",
        "b/static/etc/b": "other's",
        "b/install.d/70-name": "#!/bin/bash\ntool-one; cat $0/../../static/etc/a\n",
        "b/install.d/80-none": "#!/bin/bash\ntrue\n",
        "b/bin/tool-one": "#!/bin/bash\ntool-two\n",
        "b/bin/tool-two": "#!/bin/bash\necho $DIB_SEEN\n",
        "b/bin/tool-three": "#!/bin/bash\n",
    }
    plan = plan_of(tmp_path, files)
    assert set(plan.find("50-see").files) == {"install.d/50-see", "install.d/data", "static/etc/a"}
    named = plan.find("70-name")
    assert set(named.files) == {"install.d/70-name", "static/etc/a", "static/etc/b", "bin/tool-one", "bin/tool-two"}
    assert named.environment["DIB_SEEN"] == "1", "a variable that a command of the element names"
    assert set(plan.find("80-none").files) == {"install.d/80-none", "static/etc/b"}


@pytest.mark.parametrize(
    "text",
    [
        "for n in a b; do x=DIB_INSTALLTYPE_$n; done",
        'eval "v=\\$DIB_INSTALLTYPE_${n}"',
        "env | grep ^DIB_",
        "echo ${!name}",
        "echo ${!DIB_*}",
        "declare -p",
        "compgen -v",
        "python3 -c 'import os; print(dict(os.environ))'",
    ],
)
def test_indirect_use_makes_the_variables_visible(tmp_path: Path, text: str) -> None:
    variables = {**VARIABLES, "DIB_INSTALLTYPE_foo": "package"}
    plan = plan_of(tmp_path, {**BASE, "a/install.d/55-odd": f"#!/bin/bash\n{text}\n"}, variables)
    assert plan.find("55-odd").environment["DIB_INSTALLTYPE_foo"] == "package"
    assert "DIB_INSTALLTYPE_foo" not in plan.find("50-see").environment


def test_a_program_that_has_settings_of_its_own_gets_them(tmp_path: Path) -> None:
    variables = {**VARIABLES, "PIP_INDEX_URL": "http://index/simple"}
    script = "#!/bin/bash\n/opt/venv/bin/pip install hello\n"
    plan = plan_of(tmp_path, {**BASE, "a/install.d/55-pip": script}, variables)
    assert plan.find("55-pip").environment["PIP_INDEX_URL"] == "http://index/simple"
    assert "PIP_INDEX_URL" not in plan.find("50-see").environment


def test_set_options_are_not_a_look_at_the_whole_environment(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, {**BASE, "a/install.d/55-odd": "#!/bin/bash\nset -eu\nexport FOO=1\nenv X=1 true\n${!list[@]}\n"}
    )
    assert "DIB_SEEN" not in plan.find("55-odd").environment


def test_repositories_count_for_stages_that_install_and_only_for_them(tmp_path: Path) -> None:
    files = {**BASE, "a/install.d/55-pkg": "#!/bin/bash\napt-get install -y hello\n"}
    state = State("http://mirror/dists/x/InRelease", "digest-1", 5)
    before = plan_of(tmp_path, files, states=(state,))
    after = plan_of(tmp_path, states=(dataclasses.replace(state, digest="digest-2"),))
    assert "install/a/50-see" not in changed(before, after)
    assert {"install/a/55-pkg", "install/a/60-last"} <= changed(before, after)
    assert before.find("55-pkg").network
    assert not before.find("50-see").network


def test_the_build_image_counts_from_the_first_outside_stage(tmp_path: Path) -> None:
    before = plan_of(tmp_path, BASE)
    after = plan_of(tmp_path, request=dataclasses.replace(REQUEST, image="image-2"))
    assert "root/os/10-os" in changed(before, after)
    assert "build image" not in before.find("50-see").inputs


@pytest.mark.parametrize("name", ["http_proxy", "NO_PROXY", "DIB_MIRROR_TIMEOUT", "DIB_MIRROR_MIN_RATE"])
@pytest.mark.parametrize("told", ["echo ${}", "env | sort", "curl --proxy ${} http://x", "printenv; curl http://x"])
def test_how_the_network_is_reached_is_an_input_of_what_names_it(tmp_path: Path, name: str, told: str) -> None:
    """Whether the script has a network itself or not: it may write this into the image."""
    files = {**BASE, "a/install.d/55-see": f"#!/bin/bash\n{told.replace('{}', name)}\n"}
    before = plan_of(tmp_path, files)
    after = plan_of(tmp_path, variables={**VARIABLES, name: "7"})
    stage = after.find("55-see")
    sees = name in stage_environment(stage, after)
    assert sees
    assert stage.key != before.find("55-see").key


@pytest.mark.parametrize("name", ["http_proxy", "no_proxy", "all_proxy"])
@pytest.mark.parametrize(
    "told",
    [
        'for p in http all no; do v="${p}_proxy"; echo "${!v-}"; done',
        "for p in http all no; do eval echo \\$${p}_proxy; done",
        'python3 -c \'import os; [os.getenv(f"{p}_proxy") for p in ("http", "all", "no")]\'',
        'python3 -c \'import os; [os.getenv(p + "_proxy") for p in ("http", "all", "no")]\'',
    ],
)
def test_a_proxy_whose_name_a_script_puts_together_is_given_and_keyed(tmp_path: Path, name: str, told: str) -> None:
    files = {**BASE, "a/install.d/55-see": f"#!/bin/bash\n{told}\n"}
    before = plan_of(tmp_path, files)
    after = plan_of(tmp_path, variables={**VARIABLES, name: "7", "HTTP_PROXY": "8"})
    stage = after.find("55-see")
    assert stage_environment(stage, after)[name] == "7"
    assert stage.key != before.find("55-see").key
    assert ("HTTP_PROXY" in stage_environment(stage, after)) == ("!v" in told), "which no text puts together"


@pytest.mark.parametrize("name", ["http_proxy", "DIB_MIRROR_TIMEOUT"])
@pytest.mark.parametrize(("builtin", "told"), [((), ""), (("a",), "$http_proxy $DIB_MIRROR_TIMEOUT")])
def test_how_the_network_is_reached_is_a_service_of_package_tools(
    tmp_path: Path, name: str, builtin: tuple[str, ...], told: str
) -> None:
    """Downloaders that do not name it have it, and built-in elements, which hand it to their package tools."""
    files = {**BASE, "a/install.d/55-pkg": f"#!/bin/bash\ncurl http://x {told}\n"}
    request = dataclasses.replace(REQUEST, builtin=builtin)
    before = plan_of(tmp_path, files, request=request)
    after = plan_of(tmp_path, variables={**VARIABLES, name: "7"}, request=request)
    assert changed(before, after) == set()
    assert stage_environment(after.find("55-pkg"), after)[name] == "7"
    assert name not in stage_environment(after.find("50-see"), after)


def test_whether_a_stage_has_a_network_is_an_input(tmp_path: Path) -> None:
    """With the same files and variables: what a text names as a downloader may change with a release."""
    plan = plan_of(tmp_path, {**BASE, "a/install.d/55-pkg": "#!/bin/bash\ncurl http://x\n"})
    for name, network in (("55-pkg", "yes"), ("50-see", "no")):
        stage = plan.find(name)
        assert stage.inputs["network"] == network
        assert key_of({**stage.inputs, "network": "other"}) != stage.key == key_of(stage.inputs)


def test_an_offline_build_takes_layers_made_with_a_network_and_gives_none_as_such(tmp_path: Path) -> None:
    files = {**BASE, "a/install.d/55-pkg": "#!/bin/bash\ncurl http://x\n"}
    plan = plan_of(tmp_path, files)
    place = next(number for number, stage in enumerate(plan.stages) if stage.network)
    assert offline_plan(plan, [True] * len(plan.stages)) == plan
    unreached = [number < place for number in range(len(plan.stages))]
    offline = offline_plan(plan, unreached)
    assert keys(offline).keys() == keys(plan).keys()
    assert changed(plan, offline) == {stage.title for stage in plan.stages[place:]}
    assert offline.stages[place].inputs["network"] == CUT
    assert [stage.key for stage in offline.stages] == [key_of(stage.inputs) for stage in offline.stages]
    assert [stage.inputs["below"] for stage in offline.stages] == ["", *(stage.key for stage in offline.stages[:-1])]
    # A stage without a network is the same online and offline, until one with a network has run before it.
    assert changed(plan, offline_plan(plan, [False] * len(plan.stages))) == changed(plan, offline)


def test_an_offline_variable_that_somebody_has_set_is_an_input(tmp_path: Path) -> None:
    files = {**BASE, "a/install.d/55-pkg": "#!/bin/bash\ncurl http://x $DIB_OFFLINE\n"}
    before = plan_of(tmp_path, files, variables={**VARIABLES, "DIB_OFFLINE": ""})
    after = plan_of(tmp_path, variables={**VARIABLES, "DIB_OFFLINE": "1"})
    assert "install/a/55-pkg" in changed(before, after)


@pytest.mark.parametrize("told", ["echo $DIB_OFFLINE", "echo hello", "env | sort"])
def test_whether_a_build_is_offline_is_said_to_scripts_without_a_network(tmp_path: Path, told: str) -> None:
    files = {**BASE, "a/install.d/55-off": f"#!/bin/bash\n{told}\n"}
    before = plan_of(tmp_path, files, variables={**VARIABLES, "DIB_OFFLINE": ""})
    assert stage_environment(before.find("55-off"), before)["DIB_OFFLINE"] == ""
    offline = dataclasses.replace(REQUEST, offline=True)
    after = plan_of(tmp_path, variables={**VARIABLES, "DIB_OFFLINE": "1"}, request=offline)
    stage = after.find("55-off")
    assert (stage_environment(stage, after)["DIB_OFFLINE"] == "1") == (stage.key != before.find("55-off").key)
    assert (stage.key != before.find("55-off").key) == (told != "echo hello")
    assert after.find("50-see").key == before.find("50-see").key


def test_exported_functions_go_to_the_scripts_that_name_them(tmp_path: Path) -> None:
    """With what they name themselves: other functions, variables, the network."""
    files = {
        **BASE,
        "a/install.d/55-fn": "#!/bin/bash\none\n",
        "a/root.d/55-fn": "#!/bin/bash\none\n",
        "a/install.d/56-fn": "#!/bin/bash\necho ones\n",
    }
    functions = as_functions({"one": "() {  two\n}", "two": "() {  curl $DIB_SEEN\n}", "three": "() {  :\n}"})
    plan = plan_of(tmp_path, files, variables={**VARIABLES, **functions, "DIB_SEEN": "1"})
    for name in ("install/a/55-fn", "root/a/55-fn"):
        stage = plan.find(name)
        given = stage_environment(stage, plan)
        assert {"BASH_FUNC_one%%", "BASH_FUNC_two%%", "DIB_SEEN"} <= given.keys()
        assert "BASH_FUNC_three%%" not in given
        assert stage.network
    assert not any(name.startswith("BASH_FUNC_") for name in stage_environment(plan.find("56-fn"), plan))
    assert not any(name.startswith("BASH_FUNC_") for name in plan.environment)
    other = plan_of(tmp_path, variables={**VARIABLES, **functions, "BASH_FUNC_two%%": "() {  :\n}", "DIB_SEEN": "1"})
    assert other.find("install/a/55-fn").inputs != plan.find("install/a/55-fn").inputs
    assert other.find("install/a/50-see").inputs["variable DIB_SEEN"] == plan.find("50-see").inputs["variable DIB_SEEN"]


def test_who_builds_is_root_for_scripts_in_and_outside(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, BASE)
    for name in ("10-os", "50-see"):
        given = stage_environment(plan.find(name), plan)
        assert (given["USER"], given["LOGNAME"], given["HOME"]) == ("root", "root", "/root")


def test_reasons_name_the_input_that_changed() -> None:
    inputs = {"below": "b", "script": "s", "variable X": "1"}
    assert why_missed(inputs, None) == "never built"
    assert why_missed(inputs, {**inputs, "script": "t"}) == "changed: script"
    assert why_missed(inputs, {**inputs, "below": "c"}) == "a stage before it changed"
    assert why_missed(inputs, {"below": "b", "script": "s", "file f": "1"}) == "new: variable X; gone: file f"
    assert why_missed(inputs, inputs) == "no longer in the store"


def test_a_key_is_the_same_in_whatever_order_its_inputs_come() -> None:
    inputs = {"below": "b", "script": "s", "variable X": "1"}
    assert key_of(dict(reversed(inputs.items()))) == key_of(inputs) != key_of({**inputs, "script": "t"})


def test_reasons_name_what_changed_in_either_direction() -> None:
    inputs = {"below": "b", "file f": "5", "variable X": "5"}
    assert why_missed({**inputs, "file f": "4", "variable X": "6"}, inputs) == "changed: file f, variable X"
    assert why_missed(inputs, {**inputs, "build image": "i", "variable Y": "1"}) == "gone: build image, variable Y"
    assert why_missed(inputs, {**inputs, "format": "5"}) == "no longer in the store"


def test_reasons_name_three_inputs_and_count_the_rest() -> None:
    last = {f"variable {letter}": "1" for letter in "abcdefg"}
    now = dict.fromkeys(last, "2")
    assert why_missed(now, last) == "changed: variable a, variable b, variable c and 4 more"
    three = dict(list(now.items())[:3])
    assert why_missed(three, dict(list(last.items())[:3])) == "changed: variable a, variable b, variable c"


FETCHING = {
    **BASE,
    "a/source-repository-x": "x git /x https://h/x.git\n",
    "a/extra-data.d/50-own": "#!/bin/bash\ntrue\n",
    "b/extra-data.d/98-fetch": "#!/bin/bash\ncat $TMP_HOOKS_PATH/source-repository-*; echo DIB_REPOREF_$name\n",
    "c/extra-data.d/99-one": "#!/bin/bash\ncat $TMP_HOOKS_PATH/source-repository-y\n",
    "c/source-repository-y": "y file /y https://h/y\n",
}


def state(name: str, text: str, commit: str = "") -> SourceState:
    file = f"source-repository-{name}"
    return SourceState(Source(name, "git", f"/{name}", f"https://p@h/{name}", "master", file, ""), text, commit)


def test_the_state_of_a_source_repository_counts_for_the_scripts_that_fetch_it(tmp_path: Path) -> None:
    before = plan_of(tmp_path, FETCHING, sources=(state("x", "1"), state("y", "1")))
    fetched = {stage.title: [each.source.name for each in stage.sources] for stage in before.stages if stage.sources}
    assert fetched == {"extra-data/b/98-fetch": ["x", "y"], "extra-data/c/99-one": ["y"]}
    moved = changed(before, plan_of(tmp_path, sources=(state("x", "2"), state("y", "1"))))
    assert "extra-data/b/98-fetch" in moved
    assert "install/a/50-see" in moved
    assert not moved & {"root/os/10-os", "extra-data/a/50-own"}, "that sees the file, and fetches nothing"
    inputs = before.find("98-fetch").inputs
    assert inputs["source x https://h/x master"] == "1", "without its password"


def test_a_script_that_fetches_is_told_the_commit_and_no_other_is(tmp_path: Path) -> None:
    variables = {**VARIABLES, "DIB_REPOREF_x": "master"}
    plan = plan_of(tmp_path, FETCHING, variables, sources=(state("x", "abc", "abc"), state("y", "1")))
    assert plan.find("98-fetch").environment["DIB_REPOREF_x"] == "abc"
    assert "DIB_REPOREF_y" not in plan.find("98-fetch").environment
    assert "DIB_REPOREF_x" not in plan.find("99-one").environment
    assert "DIB_REPOREF_x" not in plan.find("50-own").environment


def test_how_this_machine_builds_is_not_seen_by_asking_for_all_variables(tmp_path: Path) -> None:
    files = {**BASE, "a/install.d/55-all": "#!/bin/bash\nexport -p\n"}
    plan = plan_of(tmp_path, files, {**VARIABLES, "DIB_CTR_DEBIAN_MIRROR": "m"})
    assert plan.find("55-all").environment["DIB_SEEN"] == "1"
    assert "DIB_CTR_DEBIAN_MIRROR" not in plan.find("55-all").environment
