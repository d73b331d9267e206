"""How large the store may be: $DIB_CTR_STORE_SIZE, for builds that keep it so (``stages.layers.budget``)."""

from __future__ import annotations

from collections.abc import Mapping

from blockdev.core.errors import UsageError
from stages.protocol.request import UNLIMITED

VARIABLE = "DIB_CTR_STORE_SIZE"


def bytes_of(text: str) -> int:
    """The bytes that a size of a person's means: 500M, 20GB; raises UsageError."""
    units = {
        "": 1,
        "B": 1,
        **{f"{unit}{end}": 1000**power for power, unit in enumerate("KMGT", 1) for end in ("", "B")},
    }
    number, unit = text.rstrip("KMGTBkmgtb"), text.lstrip("0123456789.").upper()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError) as error:
        raise UsageError(f"{text!r} is not a size", hint="--max-size 500M, --max-size 20G") from error


def bounds(environment: Mapping[str, str]) -> dict[str, str]:
    """What a request's arguments say of it: nothing where the variable is not set; raises UsageError."""
    setting = environment.get(VARIABLE, "")
    if not setting or setting == UNLIMITED:
        return {"store_size": setting} if setting else {}
    try:
        return {"store_size": str(bytes_of(setting))}
    except UsageError as error:
        hint = f"{VARIABLE}=20G, or {VARIABLE}={UNLIMITED}"
        raise UsageError(f"{setting!r} is not the size of a store", where=VARIABLE, hint=hint) from error
