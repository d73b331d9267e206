"""Where a build's block-device configuration comes from, as diskimage-builder looks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError

VARIABLE = "DIB_BLOCK_DEVICE_CONFIG"
_FILE = "file://"
_POWER = ("ppc64el", "ppc64le")
# One file system that fills the disk: no partition, no boot loader.
FALLBACK = """\
- local_loop:
    name: image0
    mkfs:
      name: mkfs_root
      mount:
        mount_point: /
        fstab:
          options: defaults
          fsck-passno: 1
"""


@dataclass(frozen=True)
class Source:
    """The ``text`` of a configuration, and what messages call it."""

    text: str
    file: str


def find(elements: Iterable[tuple[str, Path]], variables: Mapping[str, str], arch: str) -> Source:
    """The configuration: of the variable, else of the first element that brings one, else one file system.

    ``elements`` are pairs of name and folder; an element's file for the architecture goes before its default.
    Raises UsageError for a file that cannot be read, and for two elements that both bring one.
    """
    setting = variables.get(VARIABLE, "")
    if setting.startswith(_FILE):
        return _read(Path(setting.removeprefix(_FILE)), f"{VARIABLE}: ")
    if setting.strip():
        return Source(setting, VARIABLE)
    name = "ppc64el" if arch in _POWER else arch
    files: dict[str, Path] = {}
    for element, folder in elements:
        for file in (folder / f"block-device-{name}.yaml", folder / "block-device-default.yaml"):
            if file.is_file():
                files[element] = file
                break
    if len(files) > 1:
        raise UsageError(
            f"the elements {' and '.join(sorted(files))} both bring a block-device configuration",
            hint=f"leave one out, or say which: {VARIABLE}=file://PATH",
        )
    for element, path in files.items():
        return _read(path, f"element {element}: ")
    return Source(FALLBACK, "the configuration of a disk without partitions")


def _read(path: Path, whose: str) -> Source:
    try:
        return Source(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            f"{whose}the block-device configuration {path} cannot be read: {why}", hint="correct the path"
        ) from error
