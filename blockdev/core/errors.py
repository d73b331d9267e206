"""The two kinds of error a person can see; each says what happened, where, and what to do next."""

from __future__ import annotations

INTERRUPTED = 130  # the exit status of what was interrupted


class BuildError(Exception):
    """The build failed (exit status 1).

    ``what`` is one sentence, ``where`` names element, phase, script or file:line, ``hint`` is the next thing to do.
    """

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)


class UsageError(BuildError):
    """The request itself is wrong (exit status 2); nothing has run."""

    exit_status = 2
