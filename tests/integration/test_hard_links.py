"""Hard links across stages: layers, with edits at random, are what one plain file system would be."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.outputs.formats.oci_layout import blob, read_image
from tests.examples import examples
from tests.integration.command import ELEMENTS, Command, script, write_element

ROOT = Path(__file__).parents[2]
World = dict[str, Any]
Compare = Callable[[World], Any]

NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "e/f/a", "e/f/new"])
TEXTS = st.sampled_from(["", "one\n", "other\n", "third\n"])
SECONDS = st.integers(1_000_000_000, 1_000_000_003)
EDITS = st.one_of(
    st.tuples(st.sampled_from(["append", "truncate", "create", "replace"]), NAMES, TEXTS, SECONDS),
    st.tuples(st.just("chmod"), NAMES, st.sampled_from([0o644, 0o700, 0o4755, 0o600])),
    st.tuples(st.just("attribute"), NAMES, st.sampled_from(["x", "y"])),
    st.tuples(st.just("touch"), st.one_of(NAMES, st.sampled_from(["d", "e/f"])), SECONDS),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.sampled_from(["move", "link"]), NAMES, NAMES),
    st.tuples(st.just("point"), NAMES, NAMES),
    st.tuples(st.just("empty"), st.sampled_from(["d", "e/f"])),
)


def without_lost(edits: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A stage's edits without those that take a name away after the file was written to by it: docs/forbidden.md."""
    kept, written = [], set[str]()
    for edit in edits:
        kind, name, *rest = edit
        gone = {"remove": name, "replace": name, "move": rest[0] if rest else "", "empty": f"{name}/"}.get(kind, "-")
        if any(each == gone or (kind == "empty" and each.startswith(gone)) for each in written):
            continue
        kept.append(edit)
        if kind in ("append", "truncate", "chmod", "attribute", "touch"):
            written.add(name)
        elif kind in ("move", "link") and name in written:
            written.add(rest[0])
    return kept


BEGIN = [("folders",), ("create", "a", "one\n", 1_000_000_000), ("link", "a", "b"), ("link", "a", "d/a")]
WORLDS = st.fixed_dictionaries(
    {
        "stages": st.lists(st.lists(EDITS, max_size=4).map(without_lost), min_size=1, max_size=5).map(
            lambda stages: [BEGIN, *stages]
        ),
        "elsewhere": st.integers(0, 4),
        "older": st.integers(0, 4),
        "longest": st.sampled_from([300, 4]),
    }
)


@pytest.fixture(scope="module")
def compare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compare]:
    """Has a process that is root of a user namespace compare worlds; the first difference of one, or None."""
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m"]
    command += ["tests.integration.link_scenario", str(tmp_path_factory.mktemp("worlds"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == "ready\n"

        def ask(world: World) -> Any:
            stdin.write(json.dumps(world) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())

        yield ask
        stdin.close()


@settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))
@given(WORLDS)
def test_layers_are_what_one_file_system_would_be(compare: Compare, world: World) -> None:
    assert compare(world) is None


def stages(*edits: list[tuple[Any, ...]]) -> World:
    return {"stages": [BEGIN, *edits], "elsewhere": 0, "older": 0, "longest": 300, "tell": True}


@pytest.mark.parametrize(
    "edits",
    [
        [("chmod", "a", 0o700), ("append", "b", "x\n", 1_000_000_001)],
        [("append", "a", "x\n", 1_000_000_001), ("append", "d/a", "x\n", 1_000_000_001)],
        [("chmod", "a", 0o700), ("chmod", "b", 0o644)],
    ],
)
def test_a_stage_that_writes_by_two_names_runs_again_with_these_as_one(
    compare: Compare, edits: list[tuple[Any, ...]]
) -> None:
    assert compare(stages(edits)) == (
        "it wrote to one file by two of its names (/a and /b): it runs again, with these as one"
    )


@pytest.mark.parametrize(
    "edits",
    [
        [("chmod", "a", 0o700), ("chmod", "b", 0o700), ("chmod", "d/a", 0o700)],
        [("replace", "a", "x\n", 1_000_000_001), ("append", "b", "x\n", 1_000_000_001)],
        [("copy", "a", "c"), ("append", "c", "x\n", 1_000_000_001)],
        [("copy", "a", "c"), ("move", "c", "b"), ("append", "a", "x\n", 1_000_000_001)],
        [("append", "a", "x\n", 1_000_000_001), ("move", "a", "e/f/new"), ("link", "e/f/new", "c")],
    ],
)
def test_one_run_is_enough_for_everything_else(compare: Compare, edits: list[tuple[Any, ...]]) -> None:
    """A recursive chmod; a new file and a copy, which are files of their own; a name that moves with its file."""
    folder = [("touch", "d", 1_000_000_000)]  # whatever is joined there, nobody has made anything in it
    assert compare(stages(folder, edits, [("truncate", "b", "later\n", 1_000_000_002)])) == ""


MAKE = """
cd "$TARGET_ROOT"; mkdir -p opt/tool/more; cd opt/tool
echo v1 > tool; chmod 4755 tool; ln tool tool-1.0; ln tool more/tool
"""


@pytest.mark.thorough("a build in every form; `just test` has links in layers, and those of test_export.py")
def test_in_every_output_of_a_build(place: Path) -> None:
    """Made in one stage, changed in a later one: a tar; an OCI image whose layers are stages; both from the cache."""
    write_element(
        place / "elements",
        "tools",
        {
            "post-root.d/10-make": script(MAKE),
            "post-root.d/20-harden": script('cd "$TARGET_ROOT/opt/tool"; chmod u-s tool'),
            "post-root.d/30-patch": script('cd "$TARGET_ROOT/opt/tool"; echo patched >> tool-1.0'),
        },
    )
    command = Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))
    for outputs in ("-o", "tar"), ("-o", "oci,layers=stages,slim=no"):
        command.build(*outputs, "tiny-os", "tools")
    with tarfile.open(command.destination / "tiny-os.tar") as archive:
        members = {member.name.removeprefix("./"): member for member in archive if "opt/tool/" in member.name}
        names = ["opt/tool/more/tool", "opt/tool/tool", "opt/tool/tool-1.0"]
        files = [member for name, member in members.items() if name in names and member.isfile()]
        assert sorted(name for name in members if members[name].isfile() or members[name].islnk()) == names
        assert len(files) == 1, "the others are links"
        assert files[0].mode == 0o755
        assert archive.extractfile(files[0]).read() == b"v1\npatched\n"  # type: ignore[union-attr]
    last: dict[str, tuple[int, int]] = {}
    layout = command.destination / "tiny-os.oci"
    for number, layer in enumerate(read_image(layout).layer_digests):
        with tarfile.open(blob(layout, layer)) as archive:
            for member in archive:
                if member.name.removeprefix("./") in names:
                    last[member.name.removeprefix("./")] = (number, member.mode & 0o7777)
    assert set(last) == set(names)
    assert len({number for number, _ in last.values()}) == 1, "the last layer that has one of them has all"
