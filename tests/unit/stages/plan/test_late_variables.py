"""Variables that hang on the tree are given late: their snippets' texts are in keys, and no value of another root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.element.environment import snippets
from stages.element.hooks import merge
from stages.element.tree_snippets import sourcing
from stages.plan.plan import Plan, make_plan
from stages.protocol.request import Request

FILES = {
    "os/root.d/10-os": "#!/bin/bash\necho $VENDOR\n",
    "os/root.d/20-os": "#!/bin/bash\nmkdir $TARGET_ROOT/etc\n",
    "a/extra-data.d/50-see": "#!/bin/bash\necho $VENDOR\n",
    "a/extra-data.d/51-yum": "#!/bin/bash\necho $YUM\n",
    "a/install.d/50-see": "#!/bin/bash\necho $VENDOR\n",
    "a/install.d/51-yum": "#!/bin/bash\necho $YUM $OTHER\n",
    "a/install.d/52-other": "#!/bin/bash\necho $OTHER\n",
    "a/environment.d/50-a": "export VENDOR=$(. /etc/os-release && echo $ID-$OTHER)\n",
    "a/environment.d/60-a": "if command -v dnf; then export YUM=dnf; fi\n",
}
VARIABLES = {"ARCH": "amd64", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0", "VENDOR": "debian-x", "OTHER": "x"}


def plan_of(
    root: Path, files: dict[str, str], variables: dict[str, str] = VARIABLES, disk: dict[str, Any] | None = None
) -> Plan:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    elements = [(name, root / name) for name in ("a", "os")]
    merged = merge(elements)
    late = sourcing(snippets(merged), {}, merged)
    request = Request("plan", elements=("a", "os"), disk=disk or {})
    return make_plan(request, elements, merged, variables, (), sourcing=late)


def test_they_go_to_the_stages_that_name_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, FILES)
    late = {stage.title: stage.late for stage in plan.stages if stage.late}
    assert late == {
        "extra-data/a/50-see": ("VENDOR",),
        "install/a/50-see": ("VENDOR",),
        "install/a/51-yum": ("YUM",),
    }
    assert "VENDOR" not in plan.find("install/a/50-see").environment
    assert plan.find("10-os").environment["VENDOR"] == "debian-x"


def test_their_keys_have_the_snippets_and_what_these_name(tmp_path: Path) -> None:
    before = plan_of(tmp_path / "1", FILES)
    other_root = plan_of(tmp_path / "2", FILES, {**VARIABLES, "VENDOR": "fedora-x"})
    alone = {"root/os/10-os"}  # it has the build image's
    assert first_changed(before, other_root) == alone
    other_text = plan_of(tmp_path / "3", {**FILES, "a/environment.d/50-a": FILES["a/environment.d/50-a"] + "true\n"})
    assert first_changed(before, other_text) == {"extra-data/a/50-see", "install/a/50-see", "install/a/51-yum"}
    other_input = plan_of(tmp_path / "4", FILES, {**VARIABLES, "OTHER": "y"})
    assert "extra-data/a/50-see" in first_changed(before, other_input)


def first_changed(one: Plan, other: Plan) -> set[str]:
    """The stages that another input of their own tells apart."""
    pairs = zip(one.stages, other.stages, strict=True)
    return {a.title for a, b in pairs if {**a.inputs, "below": ""} != {**b.inputs, "below": ""}}


def test_who_has_no_tree_to_ask_is_told(tmp_path: Path) -> None:
    files = {**FILES, "a/package-installs.yaml": "vim:\n  when: VENDOR = debian-x\n"}
    packages, root, outside = plan_of(tmp_path, files).remarks
    assert packages.startswith("package-installs asks for VENDOR, which environment.d/50-a (element a)")
    assert root.startswith("root.d/10-os (element os) names VENDOR, which environment.d/50-a (element a)")
    assert outside.startswith("extra-data.d/51-yum (element a) names YUM, which environment.d/50-a (element a)")


def test_scripts_on_a_disk_of_privileged_are_told_about(tmp_path: Path) -> None:
    files = {
        "a/finalise.d/50-see": "#!/bin/bash\necho $VENDOR\n",
        "a/environment.d/50-a": FILES["a/environment.d/50-a"],
    }
    plan = plan_of(tmp_path, {"os/root.d/20-os": FILES["os/root.d/20-os"], **files}, disk={"privileged": ["why"]})
    (said,) = plan.remarks
    assert said.startswith("finalise.d/50-see (element a) names VENDOR, which environment.d/50-a (element a) makes of")
    assert plan_of(tmp_path, files).find("finalise/a/50-see").late == ("VENDOR",)


def test_where_nothing_looks_nothing_is_late(tmp_path: Path) -> None:
    files = {path: text for path, text in FILES.items() if "environment.d" not in path}
    plan = plan_of(tmp_path, files)
    assert plan.remarks == ()
    assert not any(stage.late for stage in plan.stages)
