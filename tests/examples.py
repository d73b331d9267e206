"""How many examples Hypothesis tries: a quarter of what `just test-all` tries, everywhere else (tests/conftest.py)."""

from __future__ import annotations

from hypothesis import settings

WHOLE = 100  # Hypothesis's own number, which all others are measured by
QUICK = 25


def examples(number: int) -> int:
    """As many of ``number`` examples as this run tries."""
    return max(1, number * settings().max_examples // WHOLE)
