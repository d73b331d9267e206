"""The option table: every option of a build in one row, whichever front door it comes in by.

Rows are read by ``builder.request.option_values`` (values to and from command
lines), by ``builder.commands.options`` (the commands) and by ``builder.frontends`` (images files, the action);
``tests/unit/builder/request/test_option_table.py`` holds every front door against them.
"""

from __future__ import annotations

from builder.request.option_table.delivery import (
    AFTER_OPTIONS,
    BREAK_OPTIONS,
    CACHE_OPTIONS,
    DRY_RUN,
    LOCK_OPTIONS,
    MANY_OPTIONS,
    PUSH_OPTIONS,
    SHELL_OPTIONS,
)
from builder.request.option_table.image import ENGINE_OPTIONS, IMAGE_OPTIONS
from builder.request.option_table.option import Here, Option
from builder.request.option_table.outputs import DISK_OPTIONS, LOG_OPTIONS, OUTPUT_OPTIONS

OPTIONS: tuple[Option, ...] = (
    *ENGINE_OPTIONS,
    *IMAGE_OPTIONS,
    *LOG_OPTIONS,
    DRY_RUN,
    *OUTPUT_OPTIONS,
    *DISK_OPTIONS,
    *CACHE_OPTIONS,
    *LOCK_OPTIONS,
    *PUSH_OPTIONS,
    *AFTER_OPTIONS,
    *BREAK_OPTIONS,
    *SHELL_OPTIONS,
    *MANY_OPTIONS,
)
# The same rows by what they are about, in the order of the commands' help.
SECTIONS: tuple[tuple[str, tuple[Option, ...]], ...] = (
    ("What the image is", IMAGE_OPTIONS),
    ("What is written", OUTPUT_OPTIONS),
    ("Of a disk", DISK_OPTIONS),
    ("What becomes of it", (*AFTER_OPTIONS, *PUSH_OPTIONS)),
    ("Many images", MANY_OPTIONS),
    ("Look inside", (*BREAK_OPTIONS, *SHELL_OPTIONS)),
    ("Layers from elsewhere", CACHE_OPTIONS),
    ("Locks", LOCK_OPTIONS),
    ("What is shown", (*LOG_OPTIONS, DRY_RUN)),
    ("Where it runs", ENGINE_OPTIONS),
)
BY_NAME = {option.name: option for option in OPTIONS}


def of_command(command: str) -> tuple[Option, ...]:
    """The options of ``build``, ``plan`` or ``shell``, in the order of their help."""
    return tuple(option for option in OPTIONS if isinstance(getattr(option.doors, command), Here))
