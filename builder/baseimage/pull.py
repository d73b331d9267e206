"""Fetching an image from a registry into an OCI layout on this machine, every blob checked by its digest."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from builder.baseimage.named import Remote
from builder.registry import PassingError, Registry, persistently
from stages.errors import BuildError, UsageError
from stages.export.oci import platform

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
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
    except ValueError as error:
        raise BuildError(f"its manifest is no JSON: {error}", where=str(image)) from error
    if not isinstance(parsed, dict) or not ("manifests" in parsed or "layers" in parsed):
        raise BuildError("its manifest is of a kind that is not known", where=str(image), hint="push it again as OCI")
    return parsed


def _for_platform(entries: list[Json], image: Remote, arch: str) -> str:
    """The digest of the entry for this architecture (OCI image specification, image-index.md)."""
    architecture, variant = platform(arch)
    known = []
    for entry in entries:
        found: Mapping[str, str] = entry.get("platform") or {}
        if found.get("os") != "linux":
            continue
        known.append("/".join(found[part] for part in ("architecture", "variant") if part in found))
        if found.get("architecture") == architecture and found.get("variant", "") in ("", "v8", variant):
            return str(entry["digest"])
    there = ", ".join(sorted(set(known))) or "nothing for Linux"
    raise UsageError(f"this image is not there for {arch}", where=str(image), hint=f"there is: {there}")


def fetch(registry: Registry, image: Remote, manifest: bytes, layout: Path, on_note: Callable[[str], None]) -> None:
    """Make an OCI layout at ``layout`` of the image with this manifest; blobs that are there already are kept.

    Raises BuildError for a blob that is not what the manifest says, or does not come.
    """
    parsed = _parsed(manifest, image)
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for descriptor in (parsed["config"], *parsed["layers"]):
        place = blobs / str(descriptor["digest"]).removeprefix("sha256:")
        if place.exists():
            continue
        persistently(lambda descriptor=descriptor, place=place: _blob(registry, image, descriptor, place), on_note)  # type: ignore[misc]
    (blobs / _digest(manifest).removeprefix("sha256:")).write_bytes(manifest)
    media_type = parsed.get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    entry = {"mediaType": media_type, "digest": _digest(manifest), "size": len(manifest)}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def created(registry: Registry, image: Remote, manifest: bytes) -> int:
    """When the image with this manifest was made, in seconds since 1970, as its configuration says (0: it does not)."""
    digest = str(_parsed(manifest, image)["config"]["digest"])
    try:
        told = json.loads(b"".join(registry.blob(image.name, digest))).get("created", "")
        return max(0, int(datetime.fromisoformat(re.sub(r"\.\d+", "", told)).timestamp()))
    except (ValueError, AttributeError, TypeError):
        return 0


def _blob(registry: Registry, image: Remote, descriptor: Json, place: Path) -> None:
    """Fetch one blob; it appears whole or not at all. Raises PassingError where it came otherwise than announced."""
    found = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".new", delete=False) as file:
        new = Path(file.name)
        try:
            for piece in registry.blob(image.name, str(descriptor["digest"])):
                found.update(piece)
                file.write(piece)
            file.flush()
            if f"sha256:{found.hexdigest()}" != descriptor["digest"]:
                raise PassingError(
                    f"a layer came otherwise than its digest says ({descriptor['digest'][:19]}...)",
                    where=str(image),
                    hint="run it again; if it stays so, the registry is damaged",
                )
            new.rename(place)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
