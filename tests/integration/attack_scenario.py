"""The script that tries to get out of the sandbox: the parts in ``attacks/`` as one text, which needs no other file."""

from __future__ import annotations

from pathlib import Path

PARTS = ("calls", "mounts", "kernel", "processes")  # the last one sends signals to all
ATTACKS = Path(__file__).parent / "attacks"
SCENARIO = "\n\n".join([*((ATTACKS / f"{part}.py").read_text() for part in PARTS), "finish()\n"])
ATTEMPTS = SCENARIO.count("\n@attempt(")
