"""What diskimage-builder's command adds to a file that a build has written: an application image's manifest."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from blockdev.core.errors import BuildError
from builder import destination


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
    with destination.partial(target) as folder:
        shutil.copyfile(tree, folder / "image")
        (folder / "image").rename(target)
    tree.unlink()


def manifest_of(name: str) -> Path | None:
    """The file that ``ACI_MANIFEST`` names, none where it is empty; BuildError where there is no such file."""
    if not name:
        return None
    if not Path(name).is_file():
        raise BuildError("there is no such manifest", where=f"ACI_MANIFEST={name}", hint="name a file, or unset it")
    return Path(name)
