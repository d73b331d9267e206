"""Words of which only some are known: a refusal names the nearest one."""

from __future__ import annotations
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.suggest import nearest
from builder.destination import FILES, check_targets, is_files, side_folder_of, target_of
from builder.request.host_files import file_digest, given_files
from builder.request.options import NAME, BuildOptions, LockOptions
from builder.request.redact import check_names, redaction_of, secrets_of
from builder.request.releases import check as releases
from builder.request.releases.support import ended
from builder.request.substitutes import CONTAINERFILE, for_engines, stand_ins, with_stand_ins
from qemu.architecture import ARCHITECTURES, canonical, native
from stages.element.environment import SERVICES
from stages.element.files import check_links
from stages.element.resolve import BUILTIN, Element, Resolution, find_elements, resolve
from stages.plan.breakpoints import WANTED, is_point
from stages.protocol.request import CHECKSUMS, COMPRESSION_LEVELS, DISK_TYPES, OUTPUT_TYPES, Output, Request
from stages.redaction.redaction import Redaction
from stages.repositories import apt_sources
if TYPE_CHECKING:
    from builder.base_image.fetch import Base
    from builder.request.disk import Disk


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
