"""JSON of our own becomes a value with types (``blockdev/core/typed_json.py``); what is read otherwise stands here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
OCI = "the OCI's image formats, which have more fields than we read"
FOREIGN = "another program's or service's document"
OTHERWISE = {
    "blockdev/convert/qemu_img.py": FOREIGN,
    "blockdev/core/yaml_document.py": "a short document without any shape",
    "blockdev/inspect/luks.py": "LUKS2's metadata, which have more fields than we read",
    "blockdev/inspect/qemu.py": FOREIGN,
    "builder/base_image/containerfile.py": "a Containerfile's list of words",
    "builder/base_image/pull.py": OCI,
    "builder/build/image_index.py": OCI,
    "builder/build/multi_arch.py": OCI,
    "builder/commands/github.py": "our report, a moment after it was written",
    "builder/describe/referrers.py": OCI,
    "builder/elements/check/package_files.py": "an element's file, of which only is asked whether it is JSON",
    "builder/engines/podman.py": FOREIGN,
    "builder/fleet/outcome.py": OCI,
    "builder/inspection/blobs.py": OCI,
    "builder/registry/credentials.py": FOREIGN,
    "builder/registry/push.py": OCI,
    "builder/remote_cache/build_images.py": "docker's archive of an image",
    "builder/remote_cache/index.py": OCI,
    "builder/remote_cache/open.py": "GitHub's event",
    "builder/request/lock_file.py": "its parts are read as values, its mistakes are told in words of their own",
    "qemu/disk_format.py": FOREIGN,
    "qemu/firmware.py": FOREIGN,
    "stages/agent/bootstrap.py": "its text runs where nothing of the project can be imported",
    "stages/element/dib_runtime/python/diskimage_builder/logging_config.py": "an element's configuration of logging",
    "stages/layers/digest_list.py": "lines of a list that a program without the project's modules writes",
    "stages/layers/link_groups.py": "rows of any length; one that is not right is made again",
    "stages/outputs/formats/oci_layout.py": OCI,
    "stages/sandbox/user_namespace.py": "its text runs where nothing of the project can be imported",
}


def _reads(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("load", "loads") and ast.unparse(node.value) == "json":
            yield node.attr


def _has_the_reader(tree: ast.AST) -> bool:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(
        node.module == "blockdev.core.typed_json" or "typed_json" in {alias.name for alias in node.names}
        for node in imports
    )


def test_json_of_our_own_is_read_as_values() -> None:
    trees = {
        file.relative_to(CHECKOUT).as_posix(): ast.parse(file.read_text(encoding="utf-8"))
        for room in ("builder", "stages", "blockdev", "qemu")
        for file in (CHECKOUT / room).rglob("*.py")
    }
    reading = {name for name, tree in trees.items() if [*_reads(tree)]}
    assert len(reading) > 50
    assert {name for name in reading if not _has_the_reader(trees[name])} == set(OTHERWISE)


@pytest.mark.parametrize(
    "text", ["import json\njson.loads('{}')", "import json\ndef x(file):\n  return json.load(file)"]
)
def test_a_read_is_seen(text: str) -> None:
    assert [*_reads(ast.parse(text))]
