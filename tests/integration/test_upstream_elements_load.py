"""All of diskimage-builder's own elements: they load without an error, and its tools say what ours say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockdev.core.errors import UsageError
from builder.commands.elements import elements as command
from builder.elements.check.run import check
from stages.element.hook_checks import refuse_odd
from stages.element.hooks import merge
from stages.element.package_installs import check_pkg_map, check_rule, read_document, rules
from stages.element.resolve import BUILTIN, find_elements, read_element, resolve
from tests import upstream

WARNINGS = {
    ("block-device-efi-lvm", "block-device", "block-device-default.yaml", 22),
    ("block-device-gpt", "block-device", "block-device-default.yaml", 14),
    ("deploy-kexec", "unknown-element", "element-deps", 1),
    ("dhcp-all-interfaces", "script-name", "install.d/dhcp-all-interfaces.init", 0),
    ("dhcp-all-interfaces", "script-name", "install.d/dhcp-all-interfaces.sh", 0),
    ("enable-serial-console", "not-a-script", "cleanup.d/99-fix-grub", 0),
    ("modprobe-blacklist", "same-script", "install.d/80-modprobe-blacklist", 0),
}


def folders(path: Path) -> list[Path]:
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith("__")]


def test_no_error_and_these_warnings(upstream_elements: Path) -> None:
    found = check([upstream_elements, BUILTIN], hidden=[BUILTIN])
    assert len(found.elements) == 128
    odd = {
        (it.element, it.code, it.file.relative_to(upstream_elements / it.element).as_posix(), it.line)
        for it in found.findings
        if it.severity != "note"
    }
    assert found.count("error") == 0
    assert odd == WARNINGS


def test_the_loader_takes_each_element(upstream_elements: Path) -> None:
    assert len(find_elements([upstream_elements])) == len(folders(upstream_elements)) == 128
    for folder in folders(upstream_elements):
        assert read_element(folder).name == folder.name
        refuse_odd(merge([(folder.name, folder)]).values(), {folder.name: folder})
        for file in folder.glob("package-installs.*"):
            for rule in rules(read_document(file)):
                check_rule(rule)
        if (folder / "pkg-map").is_file():
            check_pkg_map(read_document(folder / "pkg-map"))


def run(path: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(command, [f"--elements-path={path}", *arguments])


@pytest.mark.parametrize(
    "names",
    [
        ["debian-minimal"],
        ["ubuntu-minimal", "vm", "block-device-efi"],
        ["fedora-container", "vm", "block-device-gpt", "growroot"],
        ["centos-minimal", "ironic-agent"],
        ["debian", "cloud-init-nocloud", "devuser", "simple-init"],
        ["opensuse-minimal", "dracut-ramdisk"],
        ["deploy-kexec", "debian-minimal"],
        ["vm"],
        ["vm", "debian-minimal"],
        ["ubuntu", "debian-minimal"],
    ],
    ids="+".join,
)
def test_element_info_says_the_same(upstream_elements: Path, names: list[str]) -> None:
    environment = {
        **os.environ,
        "ELEMENTS_PATH": str(upstream_elements),
        "PYTHONPATH": f"{upstream.package().parent}:{os.environ.get('PYTHONPATH', '')}",
    }
    tool = upstream.package() / "lib/element-info.py"
    theirs = subprocess.run(
        [sys.executable, tool, *names], check=False, capture_output=True, text=True, env=environment
    )
    try:
        ours = set(resolve(names, find_elements([upstream_elements])).names)
    except UsageError:
        assert theirs.returncode != 0
        return
    assert theirs.returncode == 0, theirs.stderr
    assert ours == set(theirs.stdout.split())


def lint_of_upstream(folder: Path, elements: str) -> set[str]:
    """The errors of diskimage-builder's own dib-lint, run in ``folder``."""
    (folder / "lib").mkdir(exist_ok=True)
    commands = folder / "commands"
    commands.mkdir()
    (commands / "python").symlink_to(sys.executable)
    (commands / "flake8").write_text('#!/bin/sh\nexec python -m py_compile "$1"\n', encoding="utf-8")
    (commands / "flake8").chmod(0o755)
    done = subprocess.run(
        ["bash", upstream.package().parent / "bin/dib-lint"],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "ELEMENTS_DIR": elements,
            "LIB_DIR": "lib",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return _errors(done.stdout)


def stops_their_lint(file: Path) -> bool:
    """Their loop splits names at blanks, and ends without a word at a link to nothing and an empty element-deps."""
    return " " in file.name or not file.exists() or (file.name == "element-deps" and not file.stat().st_size)


def _errors(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith(("ERROR: ", " -- "))}


def test_dib_lint_says_the_same_of_elements_with_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Path(__file__).parents[1] / "unit/bad_elements"
    place = tmp_path / "elements"
    place.mkdir()
    for case in sorted(faults.iterdir()):
        for folder in sorted((case / "elements").iterdir()):
            if folder.is_dir() and not any(map(stops_their_lint, folder.rglob("*"))):
                shutil.copytree(folder, place / f"{case.name}-{folder.name}")
    monkeypatch.chdir(tmp_path)
    ours = CliRunner().invoke(command, ["--elements-path=elements", "--format=dib-lint"])
    assert ours.exit_code == 1
    theirs = lint_of_upstream(tmp_path, "elements")
    assert len(theirs) > 20
    assert _errors(ours.output) == theirs


def test_dib_lint_finds_nothing_in_upstreams_elements(upstream_elements: Path) -> None:
    done = run(upstream_elements, "--format=dib-lint")
    assert (done.exit_code, done.output) == (0, "PASS\n")
