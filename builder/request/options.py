"""What the user asked for, as values: every front door makes a :class:`BuildOptions`.

Which option fills which field, and where it can be said, is in ``builder.request.option_table``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True)
class EngineOptions:
    """Where a build runs: the engine, the host engine's store, the address of an engine elsewhere; ``debug`` shows
    tracebacks."""

    engine: str = "auto"
    store: str = ""
    host: str = ""
    debug: bool = False


@dataclass(frozen=True)
class LockOptions:
    """What the user asked of locks: files to write and to read (``builder.request.lock_file``), a snapshot's time."""

    lock: Path | None = None
    locked: Path | None = None
    vendor: Path | None = None
    snapshot: str = ""


@dataclass(frozen=True)
class DiskOptions:
    """What the user asked of a disk, as typed ("" where nothing was said)."""

    image_size: str = ""
    extra_size: str = ""
    root_label: str = ""
    root_fs: str = ""
    mkfs_options: str = ""
    journal_size: str = ""
    max_online_resize: str = ""
    configuration: str = ""  # a file
    privileged: str = ""  # "yes": it may be
    always: bool = False  # the tree is for a disk, whatever the outputs are, as diskimage-builder's driver has it


@dataclass(frozen=True)
class PushOptions:
    """Where an image is pushed to ("": nowhere), how, and whether it is signed there, with which key."""

    reference: str = ""
    insecure: bool = False
    authfile: Path | None = None
    sign: bool = False
    sign_key: str = ""


@dataclass(frozen=True)
class ReportOptions:
    """What is shown and written of a build, or of many: to the terminal, logs, reports."""

    progress: str = "auto"
    log: Path | None = None
    report: tuple[Path, ...] = ()
    junit: Path | None = None
    logs: Path | None = None
    whole: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class BuildOptions:
    """What the user asked for, as typed.

    ``elements`` are the names of images where ``files`` (images files) are given. ``at`` is the stage that a shell
    opens at, ``settings`` are NAME=VALUE.
    """

    elements: tuple[str, ...] = ()
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
    disk: DiskOptions = field(default_factory=DiskOptions)
    base: str = ""  # the image to begin with
    secrets: tuple[str, ...] = ()  # names of variables that are secret
    replace: bool = False  # files at the places of outputs may go, whoever wrote them
    engine: EngineOptions = field(default_factory=EngineOptions)
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    push: PushOptions = field(default_factory=PushOptions)
    load: bool = False
    boot_test: bool = False
    firmware: str | None = None
    shown: ReportOptions = field(default_factory=ReportOptions)
    at: str = ""
    files: tuple[Path, ...] = ()
    jobs: int | None = None
    keep_going: bool = False
    dry_run: bool = False  # show the plan in place of building

    @property
    def arches(self) -> tuple[str, ...]:
        """The architectures that are named."""
        return tuple(self.arch.split(",")) if self.arch else ()
