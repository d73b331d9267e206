"""Words of which only some are known: a refusal names the nearest one."""

from __future__ import annotations

from collections.abc import Iterable

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from qemu.architecture import ARCHITECTURES, canonical, native


def one_of(what: str, given: str, known: Iterable[str]) -> UsageError:
    known = sorted(known)
    hint = nearest(given, known) or f"there is: {', '.join(known)}"
    return UsageError(f"{given!r} is no {what}", hint=hint)


def parse_arch(text: str) -> str:
    """An architecture by any of its names as Debian's name; empty means this machine's."""
    name = canonical(text) if text else native()
    if name is None or name not in ARCHITECTURES:
        names = {alias: name for name, known in ARCHITECTURES.items() for alias in (name, *known.uname)}
        raise one_of("architecture", text or native(), names)
    return name
