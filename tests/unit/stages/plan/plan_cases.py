"""Plans of a few elements that a test writes, and how their keys differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.element.hooks import merge
from stages.plan.plan import Plan, make_plan
from stages.protocol.request import Request
from stages.repositories.source_state import SourceState
from stages.repositories.state import State

REQUEST = Request("build", name="x", asked=("os",), elements=("a", "os"), image="image-1")
VARIABLES = {"ARCH": "amd64", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1", "DIB_SEEN": "1", "DIB_OTHER": "2"}


def write(root: Path, files: Mapping[str, str]) -> list[tuple[str, Path]]:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if text.startswith("#!"):
            file.chmod(0o755)
    return [(folder.name, folder) for folder in sorted(root.iterdir())]


def plan_of(
    root: Path,
    files: Mapping[str, str] | None = None,
    variables: Mapping[str, str] = VARIABLES,
    states: tuple[State, ...] = (),
    request: Request = REQUEST,
    sources: tuple[SourceState, ...] = (),
) -> Plan:
    elements = write(root, files or {})
    return make_plan(request, elements, merge(elements), variables, states, sources)


BASE = {
    "os/root.d/10-os": "#!/bin/bash\nmkdir $TARGET_ROOT/etc\n",
    "a/install.d/50-see": "#!/bin/bash\necho $DIB_SEEN\n",
    "a/install.d/60-last": "#!/bin/bash\ntrue\n",
    "a/cleanup.d/10-clean": "#!/bin/bash\ntrue\n",
}


def keys(plan: Plan) -> dict[str, str]:
    return {stage.title: stage.key for stage in plan.stages}


def changed(before: Plan, after: Plan) -> set[str]:
    old, new = keys(before), keys(after)
    return {title for title in new if old.get(title) != new[title]}
