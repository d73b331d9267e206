"""What diskimage-builder's command does with files that a build has written: an image's manifest, checksums."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from stages.errors import BuildError


def application_image(tree: Path, manifest: Path | None, target: Path) -> None:
    """Make an application container image at ``target``: the tar ``tree`` (all below ``rootfs/``) and its manifest.

    ``tree`` is used up. Its time is that of the newest member, so the same tree and manifest give the same bytes.
    """
    if manifest:
        with tarfile.open(tree, "a") as archive:
            newest = max((int(member.mtime) for member in archive), default=0)
            member = tarfile.TarInfo("manifest")
            member.size, member.mode, member.mtime = manifest.stat().st_size, 0o644, newest
            with manifest.open("rb") as content:
                archive.addfile(member, content)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        shutil.copyfile(tree, partial)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    tree.unlink()


def manifest_of(name: str) -> Path | None:
    """The file that ``ACI_MANIFEST`` names, none where it is empty; BuildError where there is no such file."""
    if not name:
        return None
    if not Path(name).is_file():
        raise BuildError("there is no such manifest", where=f"ACI_MANIFEST={name}", hint="name a file, or unset it")
    return Path(name)


def beside(file: Path, names: Sequence[str]) -> list[Path]:
    """The checksum files of a file."""
    return [file.with_name(f"{file.name}.{name}") for name in names]


def write_sums(file: Path, names: Sequence[str]) -> None:
    """Write ``FILE.md5`` and the like beside a file, as md5sum(1) and sha256sum(1) read them."""
    for name, place in zip(names, beside(file, names), strict=True):
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, name).hexdigest()
        partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        partial.write_text(f"{digest}  {file.name}\n", encoding="ascii")
        partial.rename(place)
