"""Command lines that enter a user namespace (``stages.sandbox.user_namespace``): the docker and host engines."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from builder.engines.rights import CAPABILITIES
from stages.sandbox import user_namespace as namespace

PYTHON = "/usr/bin/python3"  # the distribution's: another one on PATH may be closed to the mapped user


@functools.cache
def _code() -> str:
    return Path(str(namespace.__file__)).read_text(encoding="utf-8")


def enter(command: tuple[str, ...], **options: Any) -> tuple[str, ...]:
    """``command`` in a user namespace, with a build container's rights; ``options``: stages.sandbox.user_namespace."""
    return enter_with_all(command, capabilities=sorted(CAPABILITIES.values()), **options)


def enter_with_all(command: tuple[str, ...], **options: Any) -> tuple[str, ...]:
    """The same with all rights over the namespace: for what makes build images and builds Containerfiles."""
    return (PYTHON, "-I", "-c", _code(), json.dumps(options), *command)
