"""What may be meant by a base that is not there: another node, of a kind that one can build on."""

from __future__ import annotations

import pytest

from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.layout.options import Options
from blockdev.layout.plan import plan

TEXT = """
- local_loop: {{name: image0, size: 1GiB}}
- partitioning: {{base: image0, label: gpt, partitions: [{{name: system, size: 100%}}]}}
- mkfs: {{name: {name}, base: {base}, type: ext4}}
- mount: {{name: mount_sytem, base: {name}, mount_point: /}}
"""


@pytest.mark.parametrize(
    ("name", "base", "hint"),
    [
        ("sytems", "sytem", "did you mean 'system'?"),  # its own name and the mount's are nearer
        ("other", "otherr", "expected: the name of a local_loop or partition or lv or luks"),
        ("other", "image", "did you mean 'image0'?"),
    ],
)
def test_another_node_is_named(name: str, base: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"its base '{base}' is not there") as refused:
        plan(read(TEXT.format(name=name, base=base), "f.yaml"), Options(), 0)
    assert refused.value.hint == hint
