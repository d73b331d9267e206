"""What a script's failure has to do with the program that its first line names."""

from __future__ import annotations

from collections.abc import Sequence

from stages.plan.plan import Stage

SHELL = "/bin/bash"  # of scripts without such a line
NOT_FOUND = 127  # execve(2) failed, and the sandbox said why (``stages.sandbox.process``)


def interpreter(text: str) -> str:
    """The program that a script's first line has it run by."""
    first = text.partition("\n")[0]
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    return words[0] if words else SHELL


def missing(stage: Stage, status: int, tail: Sequence[str], *, base: str = "") -> tuple[str, str] | None:
    """What is wrong, and what to do next, where the tree lacks the program that a stage's script is run by.

    ``tail`` are the last lines that the stage printed; ``base`` names the image that the build began with, if any.
    """
    if status != NOT_FOUND or not stage.phase.inside:
        return None
    if not tail or not tail[-1].endswith(f"/{stage.script.path}: No such file or directory"):
        return None
    program = interpreter(stage.script.text)
    hint = f"have an earlier phase install {program}"
    if base:
        hint = (
            f"begin with an image that has {program}, or add it to {base} by a Containerfile (--from containerfile:DIR)"
        )
    return f"the tree has no {program}, which runs the script", hint
