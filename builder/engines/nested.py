"""Command lines that enter a user namespace of their own (``stages.namespace``): the docker and host engines."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

PYTHON = "/usr/bin/python3"  # the distribution's: another one on PATH may be closed to the mapped user


@functools.cache
def _code() -> str:
    return importlib.resources.files("stages").joinpath("namespace.py").read_text()


def enter(command: tuple[str, ...], **options: Any) -> tuple[str, ...]:
    """``command`` in a user namespace; the options are those of ``stages.namespace``."""
    return (PYTHON, "-I", "-c", _code(), json.dumps(options), *command)
