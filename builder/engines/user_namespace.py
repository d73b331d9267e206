"""Command lines that enter a user namespace (``stages.sandbox.user_namespace``): the docker and host engines."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

from builder.engines.rights import CAPABILITIES

PYTHON = "/usr/bin/python3"  # the distribution's: another one on PATH may be closed to the mapped user


@functools.cache
def _code() -> str:
    return importlib.resources.files("stages.sandbox").joinpath("user_namespace.py").read_text()


def enter(command: tuple[str, ...], **options: Any) -> tuple[str, ...]:
    """``command`` in a user namespace, with a build container's rights; ``options``: stages.sandbox.user_namespace."""
    return enter_with_all(command, capabilities=sorted(CAPABILITIES.values()), **options)


def enter_with_all(command: tuple[str, ...], **options: Any) -> tuple[str, ...]:
    """The same with all rights over the namespace: for what makes build images and builds Containerfiles."""
    return (PYTHON, "-I", "-c", _code(), json.dumps(options), *command)
