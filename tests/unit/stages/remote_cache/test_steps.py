"""What a build sends to caches elsewhere: which outputs go along with the layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stages.protocol.request import DISK_TYPES, Output
from stages.remote_cache.steps import share


def sent(*types: str) -> list[str]:
    """The types of the outputs that a build with these outputs hands to its caches."""
    packed: list[str] = []
    request = SimpleNamespace(outputs=[Output(each, {}) for each in types], caches={"write": "min"})
    store = SimpleNamespace(digests=SimpleNamespace(require=lambda layers: list(layers)), find=lambda key: None)
    packer = SimpleNamespace(add_output=lambda key, kind, chain: packed.append(kind), finish=lambda records: None)
    exporter = SimpleNamespace(
        key=lambda output: output.type,
        ensure=lambda key, output: {},
        sent=SimpleNamespace(helpers=set()),
        tree=SimpleNamespace(plan=SimpleNamespace(stages=()), chain=()),
    )
    digests = SimpleNamespace(may_travel=lambda inputs: True)
    elsewhere = SimpleNamespace(builder=SimpleNamespace(digests=digests), held={}, ask=lambda keys: None)
    made: list[Any] = [request, store, packer, exporter, elsewhere]
    share(made[0], made[1], made[2], [], made[3], made[4])
    return packed


def test_outputs_of_trees_go_to_a_cache() -> None:
    assert sent("oci", "tar") == ["oci", "tar"]


@pytest.mark.parametrize("kind", sorted(DISK_TYPES))
def test_disk_images_never_go_to_a_cache(kind: str) -> None:
    assert sent(kind, "oci") == ["oci"]
