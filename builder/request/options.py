"""What the user asked for, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LockOptions:
    """What the user asked of locks: files to write and to read (``builder.request.lock_file``), a snapshot's time."""

    lock: Path | None = None
    locked: Path | None = None
    vendor: Path | None = None
    snapshot: str = ""


@dataclass(frozen=True)
class BuildOptions:
    """What the user asked for, as typed: the options that build, plan and shell share, and build's own."""

    elements: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    name: str = ""
    destination: Path = Path()
    arch: str = ""
    release: str = ""
    settings: tuple[str, ...] = ()
    elements_path: str = ""
    packages: tuple[str, ...] = ()
    no_cache: bool = False
    offline: bool = False
    breaks: tuple[str, ...] = ()
    break_command: str = ""
    break_outside: bool = False
    slim: str = ""
    no_documents: bool = False
    locks: LockOptions = field(default_factory=LockOptions)
    disk: Mapping[str, str] = field(default_factory=dict)  # the fields of builder.request.disk.DiskOptions
    base: str = ""  # the image to begin with
    secrets: tuple[str, ...] = ()  # names of variables that are secret
    replace: bool = False  # files at the places of outputs may go, whoever wrote them


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
