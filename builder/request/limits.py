"""What the user says of how much a stage may take (``stages.sandbox.limits``), checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from blockdev.core.errors import UsageError


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that are there, for the build container; raises UsageError for one that says nothing."""
    result = {name: environment[name] for name in ("DIB_CTR_PROCESSES", "DIB_CTR_MEMORY") if environment.get(name)}
    if not result:
        return {}
    from stages.sandbox import limits

    for name, value in result.items():
        try:
            if name == limits.PROCESSES:
                limits.parse_processes(value)
            else:
                limits.parse_memory(value, 1)
        except ValueError:
            what = "a number" if name == limits.PROCESSES else "a size (8G) or a share of the memory (50%)"
            raise UsageError(f"{name}={value} is no bound for a stage", hint=f'{what}, or "{limits.NONE}"') from None
    return result
