"""Each wrong block-device configuration is refused with just the message that its neighbour file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.layout.options import Options
from blockdev.layout.plan import plan

FOLDER = Path(__file__).parents[2] / "bad_block_devices"
FILES = sorted(FOLDER.glob("*.yaml"))
TREE = 50 << 20


def refusal(file: Path) -> str:
    with pytest.raises(UsageError) as refused:
        plan(read(file.read_text(encoding="utf-8"), file.name), Options(seed="test"), TREE)
    return f"{refused.value}\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_refused_with_this_message(file: Path) -> None:
    assert refusal(file) == file.with_suffix(".txt").read_text(encoding="utf-8")


def test_each_message_says_where() -> None:
    """File and line, or the file alone where nothing in it is wrong but something is missing."""
    assert FILES
    for file in FILES:
        assert f"  where: {file.name}" in refusal(file), file.name
