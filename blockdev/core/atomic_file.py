"""Small files that appear whole, and folders that go whatever is in them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path
from typing import Any


def write_file(path: Path, text: str) -> None:
    """Write a small file so that readers see the old content or the new, never half."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)


def remove_tree(path: Path) -> None:
    """Remove a folder whatever modes its content has (overlay leaves work folders without any)."""

    def open_up(function: Any, name: str, error: Any) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(0o700)
            Path(name).chmod(0o700)
            function(name)

    shutil.rmtree(path, onerror=open_up)
    if path.exists():
        shutil.rmtree(path, ignore_errors=True)
