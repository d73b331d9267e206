"""What a person may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], cutoff: float = 0.55) -> str:
    """A hint naming what the user may have meant, or an empty string; ``cutoff``: how like it must be, 0 to 1."""
    import difflib  # few have mistyped anything

    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else ""
