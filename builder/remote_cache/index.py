"""What a cache lists: an entry for each stage's layer, in one OCI image index.

An entry is a manifest whose only layer is the packed layer (``stages.remote_cache.layer_archive``, zstd). Everything
about it stands in the index, too, and the manifest's bytes follow from that: so one request tells all that a plan
needs, and is as good as the manifests themselves. Only the time of last use and the signature stand in the index alone.
(OCI image specification 1.1, image-index.md and manifest.md, "Guidelines for Artifact Usage".)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from builder.describe.image import DIGEST
from stages.outputs.formats import media_types, oci_layout
from stages.remote_cache.offers import on_top

INDEX_ARTIFACT = "application/vnd.dib-ctr.cache.v1"
ARTIFACT = "application/vnd.dib-ctr.layer.v1"
LAYER_TYPE = "application/vnd.dib-ctr.layer.v1.tar+zstd"
EMPTY = b"{}"
PREFIX = "dev.dib-ctr.cache."
MOST = 3000  # entries of an index: registries take no manifest above 4 MB
REFRESHED = 86400.0  # seconds after which a use is noted again


def digest_of(data: bytes) -> str:
    """``sha256:...``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class IndexEntry:
    """One stage's layer in a cache; the fields are those of ``stages.remote_cache.offers.Offer``, and more.

    ``title`` names the stage for a person; ``created`` and ``used`` are in seconds since 1970; ``content`` is the
    digest of the files in it (``stages.layers.digest_list``). ``writer`` and ``signed_as`` (the name of the repository
    that stands in the signature) are of signed entries, like ``signature``.
    """

    key: str
    below: str
    layer: str
    blob: str
    size: int
    unpacked: int
    parts: tuple[str, ...]
    title: str
    created: float
    content: str = ""
    writer: str = ""
    signed_as: str = ""
    used: float = 0.0
    signature: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it another entry: a key may have several layers, on several chains."""
        return self.key, self.below, self.layer

    @property
    def above(self) -> str:
        """The chain that it leads to."""
        return on_top(self.below, self.layer)

    def manifest(self) -> bytes:
        """The entry's manifest; the same bytes from the same entry, always."""
        return oci_layout.encode(
            {
                "schemaVersion": 2,
                "mediaType": media_types.MANIFEST,
                "artifactType": ARTIFACT,
                "config": {"mediaType": media_types.EMPTY, "digest": digest_of(EMPTY), "size": len(EMPTY)},
                "layers": [{"mediaType": LAYER_TYPE, "digest": self.blob, "size": self.size}],
                "annotations": self._annotations(),
            }
        )

    def _annotations(self) -> dict[str, str]:
        notes = {
            "key": self.key,
            "below": self.below,
            "layer": self.layer,
            "unpacked": str(self.unpacked),
            "parts": "+".join(self.parts),
            "title": self.title,
            "created": repr(self.created),
            "content": self.content,
            "writer": self.writer,
            "signed-as": self.signed_as,
        }
        return {f"{PREFIX}{name}": value for name, value in notes.items() if value}

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest())

    def descriptor(self) -> dict[str, Any]:
        """The entry as the index lists it."""
        manifest = self.manifest()
        more = {"blob": self.blob, "size": str(self.size), "used": repr(self.used), "signature": self.signature}
        return {
            "mediaType": media_types.MANIFEST,
            "artifactType": ARTIFACT,
            "digest": digest_of(manifest),
            "size": len(manifest),
            "annotations": {
                **self._annotations(),
                **{f"{PREFIX}{name}": value for name, value in more.items() if value},
            },
        }

    @classmethod
    def read(cls, descriptor: Mapping[str, Any]) -> IndexEntry | None:
        """The entry that an index lists; None for something else, and for one that is not what its digest says."""
        try:
            notes = {name.removeprefix(PREFIX): text for name, text in descriptor["annotations"].items()}
            parts = tuple(notes["parts"].split("+")) if notes.get("parts") else ()
            entry = cls(
                key=notes["key"],
                below=notes.get("below", ""),
                layer=notes.get("layer", ""),
                blob=notes["blob"],
                size=int(notes["size"]),
                unpacked=int(notes["unpacked"]),
                parts=parts,
                title=notes.get("title", ""),
                created=float(notes["created"]),
                content=notes.get("content", ""),
                writer=notes.get("writer", ""),
                signed_as=notes.get("signed-as", ""),
                used=float(notes.get("used", "0")),
                signature=notes.get("signature", ""),
            )
            right = bool(DIGEST.match(entry.blob)) and entry.digest == descriptor["digest"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return entry if right else None


def read_index(data: bytes) -> list[IndexEntry]:
    """The entries of an index; what is none is passed over. Raises ValueError for something that is no index."""
    if not data:
        return []
    index = json.loads(data)
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        raise ValueError("no index")
    if index.get("artifactType") != INDEX_ARTIFACT:
        raise ValueError("an index of something else")
    entries = (IndexEntry.read(descriptor) for descriptor in index["manifests"] if isinstance(descriptor, dict))
    return [entry for entry in entries if entry is not None]


def write_index(entries: Iterable[IndexEntry]) -> bytes:
    """The index over entries, the last used first; what is too much for one index is left out."""
    kept = sorted(entries, key=lambda entry: (-entry.used, entry.identity))[:MOST]
    return oci_layout.encode(
        {
            "schemaVersion": 2,
            "mediaType": media_types.INDEX,
            "artifactType": INDEX_ARTIFACT,
            "manifests": [entry.descriptor() for entry in kept],
        }
    )


def merged(
    listed: Sequence[IndexEntry], new: Sequence[IndexEntry], used: Iterable[tuple[str, str, str]], now: float
) -> list[IndexEntry] | None:
    """What an index lists after a build: ``new`` entries, and the time of use of those used; None: nothing changes.

    A clock that is ahead elsewhere does not count: no use lies after ``now``.
    """
    entries = {entry.identity: entry for entry in listed}
    changed = False
    for entry in new:
        before = entries.get(entry.identity)
        if before is None or (entry.signature and before.signature != entry.signature):
            entries[entry.identity] = replace(entry, used=now)
            changed = True
    for identity in used:
        there = entries.get(identity)
        if there is not None and (now - there.used > REFRESHED or there.used > now + REFRESHED):
            entries[identity] = replace(there, used=now)
            changed = True
    return list(entries.values()) if changed else None
