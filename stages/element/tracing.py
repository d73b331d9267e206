"""What bash says before each line of a trace (``set -x``): the file, the function and the line.

diskimage-builder exports such a PS4 to its scripts. A bash that runs as root takes none from its environment, so here a
file says it, which BASH_ENV names; only scripts that trace see it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stages.element.hooks import GENERATED, HookFile

FILE = "trace.d/bash"
_PREFIX = b"""PS4='+ ${BASH_SOURCE-$0}:${FUNCNAME-main}:$LINENO:   '\n"""
_SWITCH = "DIB_DEBUG_TRACE"
_ALWAYS = re.compile(r"^(?:#!.*|\s*set)\s-(?:\w*x|o\s+xtrace)", re.MULTILINE)


def is_traced(text: str, environment: Mapping[str, str]) -> bool:
    """Does a script trace: it asks ``DIB_DEBUG_TRACE``, and that is above 0, or it asks nobody."""
    if _SWITCH in text:
        return environment.get(_SWITCH, "").strip() not in ("", "0")
    return bool(_ALWAYS.search(text))


def file() -> HookFile:
    """The file that sets PS4, for the hooks tree."""
    return HookFile(FILE, GENERATED, 0o644, _PREFIX)


def variables(hooks: str) -> dict[str, str]:
    """The variable that leads bash to it, where a stage sees the hooks tree at ``hooks``."""
    return {"BASH_ENV": f"{hooks}/{FILE}"}
