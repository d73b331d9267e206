"""What the host asks of the build container: plain data, written as JSON into the request archive."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blockdev.core.typed_json import read
from stages.protocol.locking import Locking

COMPRESSION_LEVELS = {"gzip": (1, 9), "zstd": (1, 19)}  # lowest and highest
TREE_TYPES = ("oci", "oci-archive", "docker-archive", "tar", "squashfs", "dir")
# Disk images; what each is, blockdev.convert says.
DISK_TYPES = (
    *("qcow2", "raw", "raw.zst", "raw.gz", "raw.xz"),
    *("vmdk", "vmdk-sparse", "vdi", "vhd", "vhd-fixed", "vhdx"),
)
CONTAINER_TYPES = ("oci", "oci-archive", "docker-archive")  # of outputs that are an image for containers
OUTPUT_TYPES = (*TREE_TYPES, *DISK_TYPES)
QEMU_OPTION = "qemu."  # options of a disk image that go to qemu-img
UNLIMITED = "unlimited"  # of a store's size
OFFERED = "given/"  # before the digest of a given file, where the container wants it from the host


@dataclass(frozen=True)
class Output:
    """One output: its type, its options (``layers=stages`` ...) and the key of what already lies at its destination.

    ``known`` is what was told of that when it was written: ``digest``, ``bytes``, ``image``, ``more``.
    """

    type: str
    options: Mapping[str, str] = field(default_factory=dict)
    have: str = ""
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A build as the agent sees it; the elements' files travel beside it in the request archive.

    ``elements`` are the resolved names, sorted, ``builtin`` those of them that come with dib-ctr; ``asked`` those the
    user gave. ``image`` is the digest of the build image (for the host engine: of the tools on the host). ``stop_at``
    names the stage before which a shell is wanted (empty: after all). ``breaks`` are points of
    ``stages.plan.breakpoints``, where ``break_command`` runs in place of a shell; ``break_outside`` opens those of
    failures outside the tree; ``break_folders`` are folders of the user's machine that the command writes to.
    ``config`` is what the elements say of the image (``stages.element.image_config``); ``slim`` has the texts of the
    policies that outputs name in their option ``slim``. ``locking`` is what it says of locks. ``disk`` describes the
    disk that the tree is for, where it is for one (``stages.outputs.disk.job``). ``given`` has the SHA-256 of each file
    of the user's machine that scripts may see, by its path; they travel in the archive's ``given``. ``base`` is the
    image that the tree begins with, and the digest of its manifest (``name``, ``digest``), if any. ``caches`` says
    whether the host has caches elsewhere: ``read`` (yes) and ``write`` (``min`` or ``max``). ``secrets`` says what is
    secret beside what its name tells (``stages.redaction``): ``names`` of variables, ``files`` among the given ones,
    and perhaps the ``key`` for digests of secrets that several machines share.
    """

    command: str
    name: str = "image"
    arch: str = "amd64"
    asked: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    builtin: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    image: str = ""
    no_cache: bool = False
    offline: bool = False
    stop_at: str = ""
    breaks: tuple[str, ...] = ()
    break_command: str = ""
    break_outside: bool = False
    break_folders: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    slim: Mapping[str, str] = field(default_factory=dict)
    locking: Locking = field(default_factory=Locking)
    disk: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)
    caches: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The request as one JSON document."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, default=vars)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read what :meth:`to_json` wrote."""
        return read(cls, json.loads(text))
