"""Scripts whose interpreter is not in the tree: what a build says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, write_element

MORE = pytest.mark.thorough("one more build; `just test` has a shell that is missing")


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (script("true"), "/bin/bash"),
        pytest.param("#! /usr/bin/env python3\n", "/usr/bin/env", marks=MORE),
        pytest.param("#!/opt/own/shell -e\n", "/opt/own/shell", marks=MORE),
    ],
)
def test_the_program_that_is_missing_is_named(place: Path, text: str, program: str) -> None:
    remove = script('rm -f "$TARGET_ROOT/bin/bash" "$TARGET_ROOT/usr/bin/bash" "$TARGET_ROOT/usr/bin/env"')
    write_element(place / "elements", "bare", {"root.d/50-remove": remove, "install.d/50-script": text})
    command = Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))
    failed = command("build", "-o", "tar", "tiny-os", "bare")
    assert failed.status == 1
    assert f"why:   the tree has no {program}, which runs the script" in failed.stderr
    assert f"next:  have an earlier phase install {program}" in failed.stderr


def test_a_script_that_ends_so_itself_has_another_reason(place: Path) -> None:
    write_element(place / "elements", "bare", {"install.d/50-script": script("no-such-program")})
    command = Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))
    failed = command("build", "-o", "tar", "tiny-os", "bare")
    assert failed.status == 1
    assert "no-such-program: command not found" in failed.stderr
    assert "why:" not in failed.stderr
