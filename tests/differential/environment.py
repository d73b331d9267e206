"""What ``environment.d`` makes of the variables, and which scripts of a phase run, in which order.

diskimage-builder's answer is its own ``dib-run-parts``, which needs no root; dib-ctr's the command by which it sources
the snippets, and the scripts that its plan finds.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from stages.element.environment import capture_argv, parse_capture, snippets
from stages.element.hook_checks import refuse_odd
from stages.element.hooks import PHASE_FOLDERS, merge, scripts
from tests import upstream
from tests.differential.area import Area
from tests.differential.ask import Program
from tests.differential.compare import REFUSED, UNFORETOLD, Answer, Example

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_LINES = st.sampled_from(
    [
        "export A=1",
        "export A=${A:-none}more",
        "export B=${A:-none}",
        "C=here",
        'export D="two  words $A"'.replace("$A", "${A:-}"),
        "export DIB_X=${DIB_X:-default}",
        "export GIVEN=",
        "unset GIVEN",
        "set +u; export E=$UNSET_ONE; set -u",
        "export E=$UNSET_ONE",
        "false",
        "false || export F=1",
        "false | true",
        "set +e",
        "return 0",
        "declare -x G=5",
        'if [ -n "${A:-}" ]; then export H=$A; fi',
        "export I=$'line\\nline'",
        "function f { echo f; }; export -f f",
        "cd /",
        "exit 0",
        "exit 3",
        "[ 1 = 2 ] && export K=1",
        "export HOME=/elsewhere",
        "export PATH=$PATH:/more",
        "readonly A",
        "echo said",
        "export L=$#",
        "shopt -s nullglob",
        "local v=1; export M=$v",
    ]
)
_SNIPPETS = ["10-a", "10-a.bash", "9-c.sh", "01-b", "x", "-1-y", "10-a~", "10-a.orig", "README.md", "010-d"]
_SCRIPTS = ["10-a", "9-b", "010-c", "10-A", "10_z", "a", "-5-x", "99-z", "00", "1e3", "0x5", "--1"]
_ODD_SCRIPTS = ["10-a.sh", "50-b~", "5 5", ".5-x", "README.md"]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """The snippets of an element, the scripts of one of its phases, and the variables before."""
    made = draw(st.dictionaries(st.sampled_from(_SNIPPETS), st.lists(_LINES, min_size=1, max_size=3), max_size=4))
    odd = draw(st.integers(0, 9)) == 0
    names = draw(st.lists(st.sampled_from(_SCRIPTS + _ODD_SCRIPTS * odd), unique=True, max_size=6))
    variables = {"DIB_X": "given"} if draw(st.booleans()) else {}
    return {
        "snippets": {name: "\n".join(lines) + "\n" for name, lines in made.items()},
        "scripts": {name: not odd or draw(st.booleans()) for name in names},
        "environment": {**variables, "GIVEN": "yes"},
    }


def both(example: Example, program: Program, folder: Path) -> tuple[Answer, Answer]:
    """What the two say."""
    del program
    for name, text in example["snippets"].items():
        _file(folder / "element/environment.d" / name, text, executable=False)
    (folder / "element/install.d").mkdir(parents=True)
    for name, executable in example["scripts"].items():
        _file(folder / "element/install.d" / name, "#!/bin/bash\n", executable=executable)
    return _theirs(example, folder), _ours(example, folder)


def _file(file: Path, text: str, *, executable: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755 if executable else 0o644)


def _run(command: list[str], variables: Mapping[str, str], folder: Path) -> int:
    environment = {"PATH": PATH, "HOME": "/root", **variables, "DIB_CTR_CAPTURE": str(folder / "capture")}
    (folder / "place").mkdir(exist_ok=True)
    done = subprocess.run(
        command, env=environment, cwd=folder / "place", capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode


def _captured(file: Path) -> dict[str, str]:
    """What ``env -0`` wrote; the names of the runner's own that it exports are left out."""
    found = parse_capture(file.read_bytes())
    return {name: value for name, value in found.items() if not name.startswith("TMP")}


def _theirs(example: Example, folder: Path) -> Answer:
    runner = next(upstream.python().parents[1].glob("lib/python3*/site-packages/diskimage_builder/lib/dib-run-parts"))
    phase = folder / "element/install.d"
    command = ["/bin/bash", str(runner), "--list", str(phase)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    names = [line.removeprefix(f"{phase}/") for line in listed.stdout.splitlines()]
    # One more phase, whose only script writes down what it is given.
    show = folder / "element/show.d/50-show"
    _file(show, '#!/bin/bash\nenv -0 >"$DIB_CTR_CAPTURE"\n', executable=True)
    status = _run(["/bin/bash", str(runner), str(show.parent)], example["environment"], folder)
    (show).unlink()
    show.parent.rmdir()
    capture = folder / "capture"
    if status:
        return {"refused": str(status)}
    environment: Any = _captured(capture) if capture.exists() else "no script ran"
    capture.unlink(missing_ok=True)
    return {"scripts": names, "environment": environment}


def _ours(example: Example, folder: Path) -> Answer:
    try:
        tree = merge([("element", folder / "element")])
        refuse_odd(tree.values(), {"element": folder / "element"})
    except UsageError as error:
        return {"refused": str(error)}
    found = scripts(tree, PHASE_FOLDERS["install.d"])
    argv = capture_argv([str(folder / "element" / one.path) for one in snippets(tree)])
    status = _run(argv, example["environment"], folder)
    if status or not (folder / "capture").exists():
        return {"refused": str(status)}
    environment = _captured(folder / "capture")
    return {"scripts": [one.path.partition("/")[2] for one in found], "environment": environment}


def end_of_the_shell(example: Example, theirs: Answer) -> Answer | None:
    """A snippet that ends the shell with status 0: diskimage-builder runs no script of any phase, and goes on."""
    return REFUSED if theirs.get("environment") == "no script ran" else None


def names_of_snippets(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder ends where an editor's backup is all that there is of snippets."""
    return UNFORETOLD if "refused" in theirs and [*example["snippets"]] == ["10-a~"] else None


REASONS = {
    "end-of-the-shell": end_of_the_shell,
    "names-of-snippets": names_of_snippets,
}
AREA = Area("environment", 10, examples(), both, REASONS)
