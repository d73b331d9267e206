"""One layout for several architectures: an image index over the images of several layouts (OCI image-index.md)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError
from stages.outputs.formats import media_types, oci_layout

Descriptor = dict[str, Any]


def manifests(folder: Path) -> list[Descriptor]:
    """The descriptors of all image manifests of a layout, whether it has one image or an index over several."""
    return list(_manifests(folder, json.loads((folder / "index.json").read_bytes())))


def _manifests(folder: Path, index: dict[str, Any]) -> Iterator[Descriptor]:
    for entry in index["manifests"]:
        if entry.get("mediaType") == media_types.INDEX:
            yield from _manifests(folder, json.loads(oci_layout.blob(folder, entry["digest"]).read_bytes()))
        else:
            yield entry


def _name(descriptor: Descriptor) -> str:
    platform = descriptor.get("platform", {})
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(part for part in parts if part)


def _take(source: Path, target: Path, epoch: int) -> None:
    """All blobs and lists of referrers of one layout; files that are as all of ``target`` will be are hard-linked."""
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_dir() or copy.exists() or path.parent == source:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        status = path.stat()
        # A link shares mode and date with the source, which has to stay what it is.
        if (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o644, epoch):
            with contextlib.suppress(OSError):  # another file system, or one without links
                os.link(path, copy)
                continue
        shutil.copyfile(path, copy)


def _images(layouts: Sequence[Path]) -> list[Descriptor]:
    """The descriptors for the index, sorted by platform, with the images' own annotations but a layout's name."""
    images: dict[str, Descriptor] = {}
    for folder in layouts:
        for descriptor in manifests(folder):
            name = _name(descriptor)
            if not name:
                hint = "build it again"
                raise BuildError("an image does not say for which platform it is", where=str(folder), hint=hint)
            if name in images:
                hint = "give an image of each platform once"
                raise BuildError(f"two images are for {name}", where=str(folder), hint=hint)
            kept = {key: descriptor[key] for key in ("mediaType", "digest", "size", "platform")}
            annotations = {
                key: text for key, text in descriptor.get("annotations", {}).items() if key != media_types.REF_NAME
            }
            images[name] = {**kept, **({"annotations": annotations} if annotations else {})}
    return [images[name] for name in sorted(images)]


def _shared(folder: Path, images: Sequence[Descriptor]) -> dict[str, str]:
    """The annotations that all images have alike (a title, a version)."""
    annotations = [
        json.loads(oci_layout.blob(folder, each["digest"]).read_bytes()).get("annotations", {}) for each in images
    ]
    return {key: text for key, text in annotations[0].items() if all(other.get(key) == text for other in annotations)}


def write_index(layouts: Sequence[Path], target: Path, tag: str, epoch: int) -> str:
    """Make the layout ``target`` of the images in ``layouts`` and return the digest of the index over them.

    Its ``index.json`` has one entry, that index, under the name ``tag``; images are sorted by platform. ``target`` must
    not exist and appears by a rename; all its files get the date ``epoch`` (seconds); ``layouts`` stay as they are.
    BuildError for two images of one platform, an image without one, and a target that is there.
    """
    if target.exists():
        raise BuildError(f"{target} is there already", where=str(target), hint="name a place where nothing is")
    images = _images(layouts)
    work = Path(tempfile.mkdtemp(prefix=".index-", dir=target.parent))
    try:
        built = work / "image"
        built.mkdir()
        for folder in layouts:
            _take(folder, built, epoch)
        shutil.copyfile(layouts[0] / "oci-layout", built / "oci-layout")
        index = {
            "schemaVersion": 2,
            "mediaType": media_types.INDEX,
            "manifests": images,
            "annotations": {**_shared(built, images), "org.opencontainers.image.created": oci_layout.date(epoch)},
        }
        descriptor = {"mediaType": media_types.INDEX, "annotations": {media_types.REF_NAME: tag}}
        entry = oci_layout.put(built, descriptor, index)
        whole = {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [entry]}
        (built / "index.json").write_bytes(oci_layout.encode(whole))
        oci_layout.settle(built, epoch)
        built.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return str(entry["digest"])
