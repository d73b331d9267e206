"""One layout for several architectures: an image index over the images of several layouts (OCI image-index.md)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.errors import BuildError
from stages.export import layout

Descriptor = dict[str, Any]


def manifests(folder: Path) -> list[Descriptor]:
    """The descriptors of all image manifests of a layout, whether it has one image or an index over several."""
    return list(_manifests(folder, json.loads((folder / "index.json").read_bytes())))


def _manifests(folder: Path, index: dict[str, Any]) -> Iterator[Descriptor]:
    for entry in index["manifests"]:
        if entry.get("mediaType") == layout.INDEX_TYPE:
            yield from _manifests(folder, json.loads(layout.blob(folder, entry["digest"]).read_bytes()))
        else:
            yield entry


def _name(descriptor: Descriptor) -> str:
    platform = descriptor.get("platform", {})
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(part for part in parts if part)


def _take(source: Path, target: Path) -> None:
    """All blobs and lists of referrers of one layout, hard-linked where that can be."""
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_dir() or place.exists() or path.parent == source:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:  # another file system
            shutil.copyfile(path, place)


def write_index(layouts: Sequence[Path], target: Path, tag: str, epoch: int) -> str:
    """Make the layout ``target`` of the images in ``layouts`` and return the digest of the index over them.

    Its ``index.json`` has one entry, that index, under the name ``tag``; images are sorted by platform. ``target`` must
    not exist and appears by a rename; all its files get the date ``epoch`` (seconds). BuildError for two images of one
    platform.
    """
    images: dict[str, Descriptor] = {}
    for folder in layouts:
        for descriptor in manifests(folder):
            name = _name(descriptor)
            if name in images:
                raise BuildError(f"two images are for {name}", where=str(folder))
            kept = {key: descriptor[key] for key in ("mediaType", "digest", "size", "platform")}
            images[name] = kept
    work = Path(tempfile.mkdtemp(prefix=".index-", dir=target.parent))
    try:
        built = work / "image"
        built.mkdir()
        for folder in layouts:
            _take(folder, built)
        shutil.copyfile(layouts[0] / "oci-layout", built / "oci-layout")
        annotations = {"org.opencontainers.image.created": layout.date(epoch)}
        index = {
            "schemaVersion": 2,
            "mediaType": layout.INDEX_TYPE,
            "manifests": [images[name] for name in sorted(images)],
            "annotations": annotations,
        }
        named = {"mediaType": layout.INDEX_TYPE, "annotations": {"org.opencontainers.image.ref.name": tag}}
        entry = layout.put(built, named, index)
        whole = {"schemaVersion": 2, "mediaType": layout.INDEX_TYPE, "manifests": [entry]}
        (built / "index.json").write_bytes(layout.encode(whole))
        layout.settle(built, epoch)
        built.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return str(entry["digest"])
