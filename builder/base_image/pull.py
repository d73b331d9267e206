"""Fetching an image from a registry into an OCI layout on this machine, every blob checked by its digest."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError, UsageError
from builder.base_image.reference import Remote
from builder.inspection.blobs import Blob
from builder.inspection.limits import LARGEST_DOCUMENT, MOST_LAYERS, VARIABLE, limit_of_user
from builder.registry.client import Registry, TransientError, with_retries
from stages.outputs.formats import media_types
from stages.outputs.formats.oci_image import platform

Json = dict[str, Any]


def resolve(registry: Registry, image: Remote, arch: str) -> tuple[str, bytes]:
    """Digest and text of the image's manifest for an architecture (Debian's name).

    Raises UsageError where there is no such image or none for the architecture, BuildError where no registry answers.
    """
    data = _manifest(registry, image, image.reference)
    parsed = _parsed(data, image)
    if "manifests" in parsed:
        chosen = _for_platform(parsed["manifests"], image, arch)
        data = _manifest(registry, image, chosen)
    return _digest(data), data


def _manifest(registry: Registry, image: Remote, reference: str) -> bytes:
    data = registry.manifest(image.name, reference)
    if not data:
        raise UsageError(f"the registry has no image {image.name}:{reference}", where=str(image), hint="check its name")
    if reference.startswith("sha256:") and _digest(data) != reference:
        raise BuildError(
            "the registry gives another manifest than the one asked for", where=f"{image.name}@{reference}"
        )
    return data


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _parsed(data: bytes, image: Remote) -> Json:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildError(f"its manifest is no JSON: {error}", where=str(image)) from error
    if not isinstance(parsed, dict) or not ("manifests" in parsed or "layers" in parsed):
        raise BuildError("its manifest is of a kind that is not known", where=str(image), hint="push it again as OCI")
    return parsed


def _for_platform(entries: list[Json], image: Remote, arch: str) -> str:
    """The digest of the entry for this architecture (OCI image specification, image-index.md)."""
    architecture, variant = platform(arch)
    platforms = []
    for entry in entries if isinstance(entries, list) else ():
        described = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(described, dict) or not all(isinstance(part, str) for part in described.values()):
            continue
        if described.get("os") != "linux":
            continue
        platforms.append("/".join(described[part] for part in ("architecture", "variant") if part in described))
        if described.get("architecture") == architecture and described.get("variant", "") in ("", "v8", variant):
            return _blob_of(entry, image).digest
    there = ", ".join(sorted(set(platforms))) or "nothing for Linux"
    raise UsageError(f"this image is not there for {arch}", where=str(image), hint=f"there is: {there}")


def fetch(registry: Registry, image: Remote, manifest: bytes, layout: Path, on_note: Callable[[str], None]) -> None:
    """Make an OCI layout at ``layout`` of the image with this manifest; blobs that are there already are kept.

    Raises BuildError for a blob that is not what the manifest says, or does not come.
    """
    parsed = _parsed(manifest, image)
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for blob in _blobs(parsed, image):
        file = layout / blob.name
        if file.exists():
            continue
        with_retries(lambda blob=blob, file=file: _fetch(registry, image, blob, file), on_note)  # type: ignore[misc]
    (blobs / _digest(manifest).removeprefix("sha256:")).write_bytes(manifest)
    media_type = parsed.get("mediaType", media_types.MANIFEST)
    entry = {"mediaType": media_type, "digest": _digest(manifest), "size": len(manifest)}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def created(registry: Registry, image: Remote, manifest: bytes) -> int:
    """When the image with this manifest was made, in seconds since 1970, as its configuration says (0: it does not)."""
    config = _blobs(_parsed(manifest, image), image)[0]
    data = b""
    for piece in registry.blob(image.name, config.digest):
        data += piece
        if len(data) > LARGEST_DOCUMENT:
            raise BuildError("its configuration is too large for one", where=str(image))
    try:
        return seconds(json.loads(data).get("created"))
    except (ValueError, AttributeError):
        return 0


def seconds(date: Any) -> int:
    """A date of an image's configuration (RFC 3339) in seconds since 1970; 0 where it is none."""
    try:
        return max(0, int(datetime.fromisoformat(re.sub(r"\.\d+", "", date)).timestamp()))
    except (ValueError, TypeError, OverflowError):
        return 0


def _blob_of(descriptor: Any, image: Remote) -> Blob:
    """The blob of a descriptor, which is the registry's word: its digest names a file here."""
    try:
        blob = Blob.of(descriptor)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BuildError("its manifest is malformed: a descriptor is none", where=str(image)) from error
    if not blob.digest.startswith("sha256:") or blob.bytes < 0:
        raise BuildError(f"its manifest has a digest of a kind that is not known: {blob.digest[:80]}", where=str(image))
    return blob


def _blobs(manifest: Json, image: Remote) -> list[Blob]:
    """The blobs of an image's manifest, its configuration first."""
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) > MOST_LAYERS:
        raise BuildError(f"its manifest is malformed: no list of at most {MOST_LAYERS} layers", where=str(image))
    blobs = [_blob_of(descriptor, image) for descriptor in (manifest.get("config"), *layers)]
    if blobs[0].bytes > LARGEST_DOCUMENT:
        raise BuildError("its configuration is too large for one", where=str(image))
    if sum(blob.bytes for blob in blobs) > limit_of_user():
        raise BuildError("its layers are larger than an image may be", where=str(image), hint=f"{VARIABLE}=SIZE")
    return blobs


def _fetch(registry: Registry, image: Remote, blob: Blob, target: Path) -> None:
    """Fetch one blob; it appears whole or not at all. Raises PassingError where it came otherwise than announced."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new", delete=False) as file:
        new = Path(file.name)
        try:
            came = 0
            for piece in registry.blob(image.name, blob.digest):
                came += len(piece)
                if came > blob.bytes:  # no more of it, whatever it is
                    break
                digest.update(piece)
                file.write(piece)
            file.flush()
            if came > blob.bytes or f"sha256:{digest.hexdigest()}" != blob.digest:
                raise TransientError(
                    f"a layer came otherwise than its digest says ({blob.digest[:19]}...)",
                    where=str(image),
                    hint="run it again; if it stays so, the registry is damaged",
                )
            new.rename(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
