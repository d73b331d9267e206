"""SHA-256 of small things."""

from __future__ import annotations

import hashlib


def digest(data: bytes | str) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
