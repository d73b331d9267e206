"""Words of which only some are known: a refusal names the nearest one."""

from __future__ import annotations

from collections.abc import Iterable

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from qemu.architecture import ARCHITECTURES, canonical, native


def one_of(what: str, text: str, allowed: Iterable[str]) -> UsageError:
    allowed = sorted(allowed)
    hint = nearest(text, allowed) or f"there is: {', '.join(allowed)}"
    return UsageError(f"{text!r} is no {what}", hint=hint)


def parse_arch(text: str) -> str:
    """An architecture by any of its names as Debian's name; empty means this machine's."""
    name = canonical(text) if text else native()
    if name is None or name not in ARCHITECTURES:
        names = {alias: name for name, architecture in ARCHITECTURES.items() for alias in (name, *architecture.uname)}
        raise one_of("architecture", text or native(), names)
    return name
