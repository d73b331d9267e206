"""dib-lint's checks, each by a file that fails just this one, and how checks are turned off."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.commands.elements import elements as command
from builder.elements.check import dib_lint

GOOD = """#!/bin/bash
# dib-lint: disable=which
if [ ${DIB_DEBUG_TRACE:-0} -gt 0 ]; then
    set -x
fi
set -eu
set -o pipefail
"""
SCRIPT = "install.d/50-it"


def element(folder: Path, path: str, text: str, executable: bool = True) -> Path:
    file = folder / "one" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755 if executable else 0o644)
    (folder / "one/README.rst").write_text("one\n", encoding="utf-8")
    return file


def lint(folder: Path, *everywhere: str) -> list[str]:
    found = dib_lint.lint(dib_lint.element_folders([folder], []), frozenset(everywhere))
    return [text.replace(f"{folder}/", "") for text in found]


@pytest.mark.parametrize(
    ("path", "text", "message", "name"),
    [
        (SCRIPT, GOOD.replace("set -eu", "set -u"), "{} is not set -e", "sete"),
        (SCRIPT, GOOD.replace("set -eu", "set -e"), "{} is not set -u", "setu"),
        (SCRIPT, GOOD.replace("set -o pipefail", ""), "{} is not set -o pipefail", "setpipefail"),
        (SCRIPT, GOOD.replace("DIB_DEBUG_TRACE", "TRACE"), "{} does not follow DIB_DEBUG_TRACE", "dibdebugtrace"),
        (SCRIPT, GOOD.replace("/bin/bash", "/usr/bin/env bash"), "{} : only use #!/bin/bash for scripts", ""),
        (SCRIPT, GOOD + "if true; then\n  false\nfi\n", "{} should use 4 spaces indent", "indent"),
        (SCRIPT, GOOD + "\ttrue\n", "{} contains tab characters", "tabindent"),
        (SCRIPT, GOOD + "true", "No newline at end of file: {}", "newline"),
        (SCRIPT, GOOD + "export A=$(date)\n", "Split export and assignments in {}", ""),
        (SCRIPT, GOOD.replace("=which", "=") + "which sh\n", "{} : potential use of which\n -- which sh", "which"),
        (
            "root.d/10-it",
            GOOD + "sudo rm -rf /tmp/it\n",
            "{} : potentially unsafe sudo\n -- sudo rm -rf /tmp/it",
            "safe_sudo",
        ),
        ("element-deps", "b\na\n", "{} is not sorted alphabetically", ""),
        ("package-installs.yaml", "a: [\n", "{} is not a valid YAML file", ""),
        ("pkg-map", "a: 1\n", "{} is not a valid JSON file", ""),
        ("source-repository-one", "one git /opt/one https://example.org/one", "{} does not end with a newline", ""),
        ("environment.d/10-it", "set -x\n", "Environment file {} should not set tracing", ""),
        ("notes.md", "Notes\n", ".md docs found: {}", "mddocs"),
    ],
)
def test_each_check(tmp_path: Path, path: str, text: str, message: str, name: str) -> None:
    element(tmp_path, path, text, executable=path.split("/")[0] in ("install.d", "root.d"))
    assert lint(tmp_path) == [message.format(f"one/{path}")]
    if name:
        assert lint(tmp_path, name) == []


def test_run_bits_and_python(tmp_path: Path) -> None:
    element(tmp_path, SCRIPT, GOOD, executable=False)
    element(tmp_path, "environment.d/10-it", "export A=1\n")
    element(tmp_path, "bin/it", "#!/usr/bin/env python3\nprint(\n")
    assert lint(tmp_path) == [
        "one/bin/it failed flake8",
        "Environment file one/environment.d/10-it should not be marked as executable",
        "one/install.d/50-it is not executable",
    ]


def test_a_comment_turns_checks_off_in_its_file_only(tmp_path: Path) -> None:
    element(tmp_path, SCRIPT, "#!/bin/bash\n# dib-lint: disable=setu sete setpipefail dibdebugtrace\n")
    element(tmp_path, "install.d/60-it", "#!/bin/bash\n# dib-lint: disable=setu sete setpipefail\n")
    assert lint(tmp_path) == ["one/install.d/60-it does not follow DIB_DEBUG_TRACE"]


def test_what_names_its_target_is_safe(tmp_path: Path) -> None:
    lines = "sudo rm -rf \\\n    $TARGET_ROOT/it\n# sudo rm\nsudo true # dib-lint: safe_sudo\n"
    element(tmp_path, "root.d/10-it", GOOD + lines)
    assert lint(tmp_path) == []


def test_tox_ini_turns_checks_off_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    element(tmp_path / "elements", SCRIPT, GOOD.replace("set -eu", "set -e"))
    monkeypatch.chdir(tmp_path)
    failed = CliRunner().invoke(command, ["--format=dib-lint", "--elements-path=elements"])
    assert failed.exit_code == 1
    assert failed.output.splitlines() == [
        f"ERROR: elements/one/{SCRIPT} is not set -u",
        "*** FAIL: Some tests failed!",
    ]
    (tmp_path / "tox.ini").write_text("[dib-lint]\nignore = sete setu\n", encoding="utf-8")
    passed = CliRunner().invoke(command, ["--format=dib-lint", "--elements-path=elements"])
    assert (passed.exit_code, passed.output) == (0, "PASS\n")
