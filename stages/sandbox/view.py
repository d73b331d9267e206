"""What a stage's process is to see, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.sandbox import native_tools


@dataclass(frozen=True)
class Cache:
    """A package cache: ``source`` is the stage's own view, ``path`` where the tree's package tool looks for it.

    Without a name it is seen in the tree only; ``loose``: a script outside may unmount it there. With ``top``, scripts
    have written above ``source``: it is opened below that folder without following a link.
    """

    name: str
    source: Path
    path: str
    loose: bool = False
    top: Path | None = None


@dataclass(frozen=True)
class View:
    """What a stage's process sees.

    ``tree`` and ``cwd`` are the mounted layers' folders, ``hooks`` a folder with just the visible files, ``scratch`` an
    empty folder on a tmpfs for mount points. ``masked`` are folders to hide where they lie below a folder with programs
    (a store in /usr). ``image_cache`` is the scripts' own cache (DIB_IMAGE_CACHE), for outside stages that use it.
    ``given`` are files of the user's machine by the path at which an outside stage sees them. ``supervised``: system
    calls that a user namespace refuses are answered (see ``stages.sandbox.seccomp``), where the kernel has what that
    takes. ``short_places``: among them places in directories, for 32-bit programs in an interpreter. ``furnished``: an
    outside stage has the kernel's file systems in the tree, too, as diskimage-builder mounts them after ``root.d``;
    without, just the devices that programs in the tree cannot do without. ``native``: this machine's programs for a
    foreign tree, and which of them serve (``stages.sandbox.native_tools``). ``outside``: a folder with what earlier
    outside stages left at the places of ``KEPT_OUTSIDE``; without, these are empty, and gone with the stage.
    ``repositories``: a folder with what package tools are told of their repositories
    (``stages.layers.met_repositories``). ``settings``: an /etc that was made ready for all outside stages of a build
    (``stages.sandbox.mounts.prepare_settings``); without, each makes its own.
    """

    inside: bool
    tree: Path
    cwd: Path
    hooks: Path
    scratch: Path
    hooks_writable: bool = False
    network: bool = False
    caches: tuple[Cache, ...] = ()
    masked: tuple[Path, ...] = ()
    resolv_conf: bytes = b""
    image_cache: Path | None = None
    given: Mapping[str, Path] = field(default_factory=dict)
    supervised: bool = True
    short_places: bool = False
    furnished: bool = False
    native: tuple[Path, tuple[native_tools.Tool, ...]] | None = None
    settings: Path | None = None
    outside: Path | None = None
    repositories: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
