"""Why an image needs the privileged assembly; where there is no reason, the rootless one makes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from blockdev.filesystems import KINDS
from blockdev.layout.model import Layout

PHASES = ("pre-finalise", "finalise", "cleanup")  # those that run when the disk is there
# What a script names that wants a device or the mounted disk; shown as the group's text.
_SIGNS = {
    "IMAGE_BLOCK_DEVICE": r"IMAGE_BLOCK_DEVICE\b",
    "IMAGE_BLOCK_DEVICES": r"IMAGE_BLOCK_DEVICES\b",
    "losetup": r"(?<![\w-])losetup(?![\w-])",
    "kpartx": r"(?<![\w-])kpartx(?![\w-])",
    "dmsetup": r"(?<![\w-])dmsetup(?![\w-])",
    "/dev/mapper": r"/dev/mapper\b",
    "grub-install": r"(?<![\w-])grub-install(?![\w-])",
    "grub2-install": r"(?<![\w-])grub2-install(?![\w-])",
    "extlinux": r"(?<![\w-])extlinux(?![\w-])",
    "zipl": r"(?<![\w-])zipl(?![\w.-]|\)\n)",  # with the bracket it is a label of a `case`
}

_UNASKED = ("--force", "-f", "-ff", "--yes", "-y", "--quiet", "-q")
# A comment; and who removes a node does not want it.
_NO_WISH = re.compile(r"\s*(#|(sudo\s+)?rm\s)")


def reasons(layout: Layout, scripts: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each thing in the layout or the scripts that needs devices and mounts; none: rootless will do.

    ``scripts`` has each script's text by its title, ``phase/element/script`` (as a stage's); only those of the phases
    from pre-finalise on count, and what their comments say does not.
    """
    return (*_of_layout(layout), *of_scripts(scripts))


def needs_device_mapper(layout: Layout) -> bool:
    """Does the privileged assembly of this layout need the kernel's device mapper."""
    return bool(layout.groups or layout.luks)


def _of_layout(layout: Layout) -> Iterator[str]:
    for system in layout.file_systems:
        if system.kind not in KINDS:
            yield f"file system type {system.kind} (mkfs node {system.name!r}) has no rootless writer"
    for group in layout.groups:
        if asked := _meaningful(group.options):
            yield f"the volume group {group.name!r} has options for vgcreate: {' '.join(asked)}"
        for volume in group.logical:
            if volume.type in {"thin", "thin-pool"}:
                kind = "a thin volume" if volume.type == "thin" else "a pool for thin volumes"
                yield f"the logical volume {volume.name!r} is {kind}"
            elif volume.type not in {"", "linear"}:
                yield f"the logical volume {volume.name!r} is of the type {volume.type}, and not linear"
            if asked := _meaningful(volume.options):
                yield f"the logical volume {volume.name!r} has options for lvcreate: {' '.join(asked)}"


def _meaningful(options: Sequence[str]) -> list[str]:
    """The options but for those that keep LVM from asking: on a new disk there is nothing to ask about."""
    return [option for option in options if option not in _UNASKED]


def of_scripts(scripts: Mapping[str, str]) -> Iterator[str]:
    """The reasons of the scripts alone; ``scripts`` as for :func:`reasons`."""
    for title, text in scripts.items():
        phase, _, rest = title.partition("/")
        element, _, name = rest.partition("/")
        if phase not in PHASES:
            continue
        code = "\n".join(line for line in text.splitlines() if not _NO_WISH.match(line))
        signs = [sign for sign, pattern in _SIGNS.items() if re.search(pattern, code)]
        if signs:
            yield f"element {element}: {phase}.d/{name} uses {', '.join(signs)}"
