"""The OCI image layout on disk: its three kinds of document, read and written as canonical JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.outputs.formats import media_types

_DIGEST = re.compile(r"sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})\Z")


@dataclass(frozen=True)
class StoredImage:
    """The one image of a layout: the documents and where they lie. ``digest`` is the manifest's (``sha256:...``)."""

    index: dict[str, Any]
    manifest: dict[str, Any]
    config: dict[str, Any]

    @property
    def digest(self) -> str:
        """The digest that names the image: its manifest's."""
        return str(self.index["manifests"][0]["digest"])

    @property
    def config_digest(self) -> str:
        """The digest of its configuration."""
        return str(self.manifest["config"]["digest"])

    @property
    def layer_digests(self) -> list[str]:
        """The digests of its layers as they lie in the layout (compressed), the lowest first."""
        return [str(layer["digest"]) for layer in self.manifest["layers"]]


def blob(layout: Path, digest: str) -> Path:
    """Where the blob of this digest lies; ValueError for what is no digest."""
    if not _DIGEST.match(digest):
        raise ValueError(f"{digest!r} is no digest")
    return layout / "blobs" / Path(*digest.split(":"))


def read_image(layout: Path) -> StoredImage:
    """Read the layout's one image."""
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(layout, index["manifests"][0]["digest"]).read_bytes())
    config = json.loads(blob(layout, manifest["config"]["digest"]).read_bytes())
    return StoredImage(index, manifest, config)


def date(epoch: int) -> str:
    """Seconds since 1970 as RFC 3339 has them."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(document: Mapping[str, Any]) -> bytes:
    """A document as canonical JSON: whoever wrote it first, the same content is the same bytes."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def put(layout: Path, descriptor: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Write a document as a blob; the descriptor that points to it then."""
    data = encode(document)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob(layout, digest).write_bytes(data)
    return {**descriptor, "digest": digest, "size": len(data)}


@dataclass(frozen=True)
class Layer:
    """One layer of an image: its descriptor's fields, the digest of its archive, what made it."""

    media_type: str
    digest: str
    bytes: int
    diff_id: str
    created_by: str


def complete(layout: Path, layers: Sequence[Layer], platform: Mapping[str, str], created: str) -> None:
    """Give the described image of ``layout`` its layers (blobs that lie there), and say for which platform it is.

    umoci compresses by itself, with what each build of it contains, and has no option for the variant; so layers are
    written without it, and the three documents here, each with the new digest of the one below it. ``created`` is the
    date in the history (RFC 3339). The old blobs stay until :func:`drop_unnamed`.
    """
    image = read_image(layout)
    history = [{"created": created, "created_by": layer.created_by} for layer in layers]
    rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    config = {**image.config, **platform, "rootfs": rootfs, "history": history}
    version = {"schemaVersion": 2}
    manifest = {**version, "mediaType": media_types.MANIFEST, **image.manifest}
    manifest["layers"] = [{"mediaType": each.media_type, "digest": each.digest, "size": each.bytes} for each in layers]
    manifest["config"] = put(layout, manifest["config"], config)
    entry = {**put(layout, image.index["manifests"][0], manifest), "platform": dict(platform)}
    index = {**version, "mediaType": media_types.INDEX, **image.index, "manifests": [entry]}
    (layout / "index.json").write_bytes(encode(index))


def drop_unnamed(layout: Path) -> None:
    """Remove the blobs that the image does not name, as ``umoci gc`` does, which reads every layer again for it."""
    image = read_image(layout)
    needed = {blob(layout, digest) for digest in (image.digest, image.config_digest, *image.layer_digests)}
    for file in (layout / "blobs" / "sha256").iterdir():
        if file not in needed:
            file.unlink()


def settle(layout: Path, epoch: int) -> int:
    """Give every file and folder the same mode and time whatever the umask was; the length of all files in bytes."""
    total = 0
    for path in [*sorted(layout.rglob("*"), reverse=True), layout]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        total += 0 if path.is_dir() else path.stat().st_size
        os.utime(path, (epoch, epoch))
    return total
