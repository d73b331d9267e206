"""The places of outputs, and what may be replaced there: what a build wrote, and nothing else without being told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from blockdev.core.errors import BuildError, UsageError
from builder.destination.written_outputs import Memory, memory
from stages.protocol.request import DISK_TYPES, Output

SUFFIXES = {
    "oci": ".oci",
    "oci-archive": ".oci.tar",
    "docker-archive": ".docker.tar",
    "tar": ".tar",
    "squashfs": ".squashfs",
    "dir": ".dir",
    **{kind: f".{kind.partition('-')[0]}" for kind in DISK_TYPES},
}
COMPRESSED = {"none": "", "gzip": ".gz", "zstd": ".zst"}
FOLDERS = ("oci", "dir")
REPLACE = "--replace"
# The output of a build that makes nothing but what its outside scripts leave beside an image: kernels, ram disks.
FILES = "files"


def is_files(text: str) -> bool:
    """Does an output's text ask for the files that scripts leave beside an image."""
    return text.partition(",")[0] == FILES


def side_folder_of(outputs: Iterable[str]) -> Path | None:
    """The folder that the output of these files names for them (``files,dest=DIR``); UsageError for other options."""
    folder = None
    for text in filter(is_files, outputs):
        for pair in text.split(",")[1:]:
            key, _, value = pair.partition("=")
            if key != "dest" or not value:
                raise UsageError(f"the output {FILES} has one option: dest", where=text, hint=f"-o {FILES},dest=DIR")
            folder = Path(value).absolute()
    return folder


def target_of(output: Output, name: str, folder: Path) -> Path:
    """The path of an output: its option ``dest``, or its name and its type's suffix in ``folder``."""
    if "dest" in output.options:
        return Path(output.options["dest"]).absolute()
    suffix = SUFFIXES[output.type]
    if output.type == "tar":
        suffix += COMPRESSED[output.options.get("compress", "none")]
    return (folder / f"{name}{suffix}").absolute()


def check_targets(outputs: Sequence[Output], targets: Sequence[Path], *, replace: bool = False) -> None:
    """Refuse what cannot be written, or must not be replaced, before any work starts: raises UsageError.

    ``replace``: the user has said that files at these places may go, whoever wrote them.
    """
    for number, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        for other in targets[:number]:
            if target == other or target in other.parents or other in target.parents:
                what = f"two outputs would be written to {target}" if target == other else f"{target} and {other} clash"
                raise UsageError(what, hint="give one of them a dest=PATH of its own")
        check_folder_of(target, hint="--dest DIR")
        _check_target(output, target, replace=replace)


def check_folder_of(file: Path, hint: str) -> None:
    """UsageError where nothing can be made at this place: the last of its folders that is there is none of yours."""
    folder = next((parent for parent in file.absolute().parents if parent.exists()), Path("/"))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{file} cannot be written: {folder} is not a folder you may write to", hint=hint)


def _check_target(output: Output, target: Path, *, replace: bool) -> None:
    if not os.path.lexists(target):
        return
    if not _is_of_type(output, target):
        raise UsageError(
            f"{target} is there and is no earlier output of this type: it is left alone",
            hint=f"remove it, or: -o {output.type},dest=PATH",
        )
    if not replace and not _is_ours(output, target):
        raise UsageError(
            f"{target} is there, and is not what a build of yours wrote: it is left alone",
            hint=f"move it away, or: -o {output.type},dest=PATH, or let it be replaced: {REPLACE}",
        )


def _is_of_type(output: Output, target: Path) -> bool:
    """Is this, as far as one can see, an output of this type (or nothing at all)."""
    if output.type not in FOLDERS:
        return target.is_file() or target.is_symlink()
    if not target.is_dir():
        return False
    if not any(target.iterdir()):
        return True
    return (target / "oci-layout").is_file() if output.type == "oci" else memory().knows(target)


def _is_ours(output: Output, target: Path) -> bool:
    if output.type in FOLDERS:
        return memory().knows(target) or not any(target.iterdir())
    status = target.lstat()
    return memory().wrote(target) or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def refuse_others(paths: Iterable[Path], kept: Memory, error: type[BuildError] = BuildError) -> None:
    """Raise ``error`` for the first of these files that is there and that no build wrote as it is now."""
    for path in paths:
        if os.path.lexists(path) and not kept.wrote(path):
            raise error(
                f"{path} is there, and is not what a build of yours wrote: it is left alone",
                hint=f"move it away, or let it be replaced: {REPLACE}",
            )
