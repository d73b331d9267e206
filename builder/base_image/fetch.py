"""The image that a build begins with, at hand: what it is, and the archive of its tree.

What was fetched and laid flat once is kept in the user's cache, by the image's digest; a tag is asked for in every
build (one small request), unless the build is offline.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from blockdev.core.digest import digest as short_digest
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import read
from builder.base_image import flatten, pull, reference
from builder.base_image import inspect as facts
from builder.base_image.inspect import BaseImageInfo
from builder.base_image.reference import Remote
from builder.destination import partial, sweep
from builder.destination.space import CACHE_ELSEWHERE
from builder.host_state.probe_results import cache_folder
from builder.inspection.image import ImageFile, open_image
from builder.inspection.tree import FOLDER, Tree
from builder.registry.client import Registry, is_loopback
from qemu.architecture import canonical
from stages.outputs.formats.oci_image import platform

FORMAT = "3"  # of what is kept: another one makes all anew
ARCHIVE, FACTS, DIGEST = "tree.tar", "facts.json", "tree.sha256"
CONTAINERFILES = ("Containerfile", "Dockerfile")  # what they are called where they have no name of their own

Note = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """An image to begin with: as the user named it, its manifest's digest (hex), the archive of its tree, its facts.

    ``content`` is the archive's own SHA-256 (hex): a build asks for the file by it, and looks whether it got that.
    """

    name: str
    digest: str
    archive: Path
    content: str
    facts: BaseImageInfo

    @property
    def pinned(self) -> str:
        """The name with which the very same image is found again; of one on this machine's disk without its folder."""
        image = self.name if self.name.partition(":")[0] in reference.ON_DISK else reference.parse(self.name)
        if isinstance(image, Remote):
            return f"{image.host}/{image.name}@sha256:{self.digest}"
        kind, _, path = self.name.partition(":")
        return f"{kind}:{Path(path).name}"

    @property
    def title(self) -> str:
        """What a build of nothing else is called: the last part of the image's name, or a Containerfile's folder."""
        kind, _, path = self.name.partition(":")
        if kind == reference.ON_DISK[-1] and Path(path).name in CONTAINERFILES:
            return Path(path).absolute().parent.name
        last = re.split(r"[@]|:(?!.*/)", self.name.rstrip("/").removeprefix("docker://"))
        word = (last[1] if last[0] in reference.ON_DISK else last[0]).rpartition("/")[2].partition(":")[0]
        return re.sub(r"\.(oci|docker|tar)\b.*$", "", word)


def images_folder() -> Path:
    """Where fetched images are kept."""
    return cache_folder() / "images"


def find(text: str, arch: str, *, offline: bool, on_note: Note = lambda _: None) -> Base:
    """The image that ``--from`` names, for an architecture (Debian's name); fetched where it is not in the cache.

    Raises UsageError where there is none, BuildError where it cannot be fetched or is damaged.
    """
    image = reference.parse(text)
    folder = images_folder()
    if isinstance(image, Path):
        opened = open_image(image, arch)
        return kept(folder, text, opened.digest, arch) or keep(folder, text, opened, arch)
    if offline:
        return _offline(folder, text, image, arch)
    registry = Registry(image.host, insecure=is_loopback(image.host))
    digest, manifest = pull.resolve(registry, image, arch)
    base = kept(folder, text, digest, arch)
    if base is None:
        on_note(f"fetching {image}")
        sweep(folder)
        with partial(folder / "pull", CACHE_ELSEWHERE) as scratch:
            pull.fetch(registry, image, manifest, scratch / "image", on_note)
            base = keep(folder, text, open_image(scratch / "image", arch), arch)
    remember(folder, image, arch, digest)
    return base


def _folder_of(folder: Path, digest: str, arch: str) -> Path:
    return folder / f"{digest.partition(':')[2]}-{arch}-{FORMAT}"


def kept(folder: Path, text: str, digest: str, arch: str) -> Base | None:
    """The image of a digest, where it is in the cache."""
    image_folder = _folder_of(folder, digest, arch)
    try:
        data = json.loads((image_folder / FACTS).read_text(encoding="utf-8"))
        content = (image_folder / DIGEST).read_text(encoding="ascii")
        info = read(BaseImageInfo, data)
    except (FileNotFoundError, ValueError):  # not there, or written by a version that tells other things
        return None
    return Base(text, digest.partition(":")[2], image_folder / ARCHIVE, content, info)


def keep(folder: Path, text: str, image: ImageFile, arch: str) -> Base:
    """Lay the image flat and keep it; it appears in the cache when it is whole."""
    if image.platform.split("/")[1] != platform(arch)[0]:
        hint = f"--arch {canonical(image.platform.split('/')[1]) or image.platform}, or an image that has both"
        raise UsageError(f"this image is one for {image.platform}, not for {arch}", where=f"--from {text}", hint=hint)
    folder.mkdir(parents=True, exist_ok=True)
    with partial(folder / "image", CACHE_ELSEWHERE) as scratch:
        tree = image.contents(keep=facts.has_facts).tree
        (scratch / "new").mkdir()
        flatten.write(image, tree, scratch / "new" / ARCHIVE)
        with (scratch / "new" / ARCHIVE).open("rb") as archive:
            content = hashlib.file_digest(archive, "sha256").hexdigest()
        (scratch / "new" / DIGEST).write_text(content, encoding="ascii")
        info = _facts(image, tree, arch)
        (scratch / "new" / FACTS).write_text(json.dumps(info.as_json()), encoding="utf-8")
        image_folder = _folder_of(folder, image.digest, arch)
        if kept(folder, text, image.digest, arch) is None:  # not there, or not to be read
            shutil.rmtree(image_folder, ignore_errors=True)
            (scratch / "new").rename(image_folder)
    base = kept(folder, text, image.digest, arch)
    assert base is not None
    return base


def _facts(image: ImageFile, tree: Tree, arch: str) -> BaseImageInfo:
    contents = {
        path: entry.content.decode("utf-8", "replace")
        for path, entry in tree.entries.items()
        if entry.content is not None and facts.has_facts(path)
    }
    link = tree.entries.get(facts.OS_RELEASE[0])
    if link is not None and facts.OS_RELEASE[0] not in contents and facts.OS_RELEASE[1] not in contents:
        what = f"its /etc/os-release leads to {link.target}, which nobody reads"
        raise BuildError(what, where=str(image.path), hint="give it an os-release at one of its usual places")
    programs = frozenset(
        path
        for path, entry in tree.entries.items()
        if entry.kind != FOLDER and (path.rpartition("/")[0] in facts.FOLDERS or path == "/usr/lib/systemd/systemd")
    )
    info = facts.told_by(contents, programs, image.config.get("config") or {}, arch)
    return replace(info, date=pull.seconds(image.config.get("created")))


def _names_file(folder: Path, image: Remote, arch: str) -> Path:
    return folder / f"name-{short_digest(f'{image} {arch}')[:24]}"


def recalled(folder: Path, image: Remote, arch: str) -> str:
    """The digest that an image's name had last ("": it was never asked for)."""
    file = _names_file(folder, image, arch)
    return file.read_text(encoding="utf-8") if file.exists() else ""


def remember(folder: Path, image: Remote, arch: str, digest: str) -> None:
    """Keep the digest of an image's name for builds without a network."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="new-", delete=False) as file:
        file.write(digest)
    Path(file.name).rename(_names_file(folder, image, arch))


def _offline(folder: Path, text: str, image: Remote, arch: str) -> Base:
    digest = recalled(folder, image, arch)
    base = kept(folder, text, digest, arch) if digest else None
    if base is None:
        raise BuildError(f"{image} was never fetched", where=f"--from {text}", hint="build once without --offline")
    return base
