"""Documents attached to an image of a layout, the way a registry has them: as OCI 1.1 referrers.

Each document is an artifact manifest whose ``subject`` is the image's manifest. ``index.json`` keeps its one entry
(tools that are given a layout without a tag insist on it), so the manifests are listed in
``referrers/sha256/<hex of the subject>.json``: the image index that a registry answers to ``GET referrers/<digest>``
(OCI distribution specification 1.1, "Listing Referrers").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError
from builder.describe.image import hex_of
from stages.outputs.formats import media_types
from stages.outputs.formats.oci_layout import blob, encode, put, settle

TITLE, CREATED = "org.opencontainers.image.title", "org.opencontainers.image.created"
Descriptor = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """A document about an image: the type of the artifact, of its data, its file name, the data."""

    artifact_type: str
    media_type: str
    title: str
    data: bytes


def attach(layout: Path, documents: Sequence[Document], subject: str = "") -> None:
    """Attach documents to the layout's image, or to the manifest (or index) of it with the digest ``subject``.

    What is attached already stays; the same document a second time changes nothing. All files of the layout get one
    mode and the image's date. Raises BuildError for a layout that has no such manifest, or not exactly one entry.
    """
    target = _subject(layout, subject)
    created = _created(layout, target)
    listing = _listing(layout, target["digest"])
    added = [_put(layout, target, created, document) for document in documents]
    listed = {entry["digest"]: entry for entry in (*_entries(listing), *added)}
    entries = sorted(listed.values(), key=lambda entry: (entry.get("artifactType", ""), entry["digest"]))
    listing.parent.mkdir(parents=True, exist_ok=True)
    unfinished = listing.with_suffix(".new")
    unfinished.write_bytes(encode({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": entries}))
    unfinished.rename(listing)
    settle(layout, int(datetime.fromisoformat(created).timestamp()))


def read(layout: Path, digest: str) -> list[tuple[Descriptor, bytes]]:
    """What is attached to the manifest with this digest: each artifact's descriptor and its document."""
    attached = []
    for entry in _entries(_listing(layout, digest)):
        manifest = _read(layout, entry)
        attached.append((entry, blob(layout, manifest["layers"][0]["digest"]).read_bytes()))
    return attached


def _listing(layout: Path, digest: str) -> Path:
    return layout / "referrers" / "sha256" / f"{hex_of(digest)}.json"


def _entries(listing: Path) -> list[Descriptor]:
    try:
        entries: list[Descriptor] = json.loads(listing.read_bytes())["manifests"]
    except FileNotFoundError:
        return []
    return entries


def _put(layout: Path, subject: Descriptor, created: str, document: Document) -> Descriptor:
    """Write a document and its manifest (image specification 1.1, "Guidelines for Artifact Usage")."""
    annotations = {CREATED: created}
    layer = {**_put_data(layout, document.media_type, document.data), "annotations": {TITLE: document.title}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "artifactType": document.artifact_type,
        "config": _put_data(layout, media_types.EMPTY, b"{}"),
        "layers": [layer],
        "subject": subject,
        "annotations": annotations,
    }
    # A registry repeats the manifest's annotations and artifact type in the list.
    descriptor = {"mediaType": media_types.MANIFEST, "artifactType": document.artifact_type, "annotations": annotations}
    return put(layout, descriptor, manifest)


def _put_data(layout: Path, media_type: str, data: bytes) -> Descriptor:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob(layout, digest).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _subject(layout: Path, digest: str) -> Descriptor:
    """The plain descriptor (type, digest, size) of the manifest that documents are attached to."""
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    if not digest and len(entries) != 1:
        raise BuildError(f"the layout {layout} has {len(entries)} images", hint="name one of them by its digest")
    for entry in entries if not digest else _all(layout, entries):
        if entry["digest"] == (digest or entry["digest"]):
            return {name: entry[name] for name in ("mediaType", "digest", "size")}
    raise BuildError(f"the layout {layout} has no manifest {digest}", hint=f"skopeo inspect --raw oci:{layout}")


def _all(layout: Path, entries: Sequence[Descriptor]) -> list[Descriptor]:
    """The entries and, where one is an index, those of it."""
    manifests: list[Descriptor] = []
    for entry in entries:
        manifests.append(entry)
        if entry["mediaType"] == media_types.INDEX:
            manifests += _all(layout, _read(layout, entry)["manifests"])
    return manifests


def _created(layout: Path, descriptor: Mapping[str, Any]) -> str:
    """The image's date (RFC 3339): of its configuration; of an index, the newest of its images."""
    document = _read(layout, descriptor)
    if descriptor["mediaType"] == media_types.INDEX:
        return max(_created(layout, entry) for entry in document["manifests"])
    return str(_read(layout, document["config"])["created"])


def _read(layout: Path, descriptor: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(blob(layout, descriptor["digest"]).read_bytes())
    return document
