"""Programs of the system are run in one way (``blockdev/core/tools.py``); where another is needed, here is why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ALONE = "its text runs where nothing of the project can be imported"
TALKS = "it talks with a program that goes on running"
FEEDS = "it writes to a program as it comes"
TERMINAL = "the program speaks on the user's terminal"
OTHER_WAYS = {
    "blockdev/core/tools.py": "this is the one way",
    "blockdev/filesystems/ext.py": FEEDS,
    "builder/destination/place.py": FEEDS,
    "builder/doctor/container_checks.py": ALONE,
    "builder/engines/command_engine.py": f"a shell: {TERMINAL}",
    "builder/engines/host.py": f"a shell: {TERMINAL}; {TALKS}",
    "builder/engines/process.py": TALKS,
    "builder/fleet/run.py": TALKS,
    "builder/inspection/decompress.py": FEEDS,
    "builder/registry/cosign.py": TERMINAL,
    "qemu/boot.py": TALKS,
    "qemu/boot_watch.py": TALKS,
    "qemu/ssh.py": "a login is tried beside the machine, which goes on",
    "stages/elements/apk/apk.d/apk_static.py": ALONE,
    "stages/elements/gentoo/gentoo.d/release_media.py": ALONE,
    "stages/layers/layer_digests.py": "it is started without a pipe, which a stage's processes would inherit",
    "stages/outputs/disk/scripts.py": "a script's lines are told of as they come",
    "stages/remote_cache/exporter.py": FEEDS,
    "stages/remote_cache/importer.py": "the program is ended once the archive has",
    "stages/sandbox/process.py": "this process becomes the program",
    "stages/sandbox/user_namespace.py": ALONE,
}
SPAWNING = ("exec", "spawn", "posix_spawn", "system", "popen")


def _ways(tree: ast.AST) -> Iterator[str]:
    """What code has of running programs: the module ``subprocess``, and functions of ``os``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in ("subprocess", "asyncio.subprocess"))
        elif isinstance(node, ast.ImportFrom) and node.module == "subprocess":
            yield "subprocess"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield from (node.attr for start in SPAWNING if node.attr.startswith(start))


def test_programs_are_run_in_one_way() -> None:
    files = [file for room in ("builder", "stages", "blockdev", "qemu") for file in (CHECKOUT / room).rglob("*.py")]
    assert len(files) > 300
    other = {
        file.relative_to(CHECKOUT).as_posix() for file in files if [*_ways(ast.parse(file.read_text(encoding="utf-8")))]
    }
    assert other == set(OTHER_WAYS)


@pytest.mark.parametrize(
    "text",
    ["import subprocess", "from subprocess import run", "import os\nos.system('x')", "def x():\n  os.posix_spawn(y)"],
)
def test_another_way_is_seen(text: str) -> None:
    assert [*_ways(ast.parse(text))]
