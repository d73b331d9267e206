"""Variables of a build in a process of its own: off its command line, which every user of the machine can read."""

from __future__ import annotations

import json
from collections.abc import MutableMapping, Sequence

from blockdev.core.typed_json import read

VARIABLE = "DIB_CTR_SETTINGS"  # a JSON list of NAME=VALUE


def apart(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command line without its ``--set NAME=VALUE``, and the variable of the environment that has them."""
    kept: list[str] = []
    settings: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            kept += [word, *rest]
        elif word == "--set":
            settings.append(next(rest))
        else:
            kept.append(word)
    return kept, {VARIABLE: json.dumps(settings)} if settings else {}


def taken(environment: MutableMapping[str, str]) -> tuple[str, ...]:
    """What :func:`apart` took away, in the process that it is for; no other one gets it."""
    text = environment.pop(VARIABLE, "")
    return read(tuple[str, ...], json.loads(text)) if text else ()
