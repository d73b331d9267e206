"""One image: which of those in a layout or an archive is meant, its documents, and its tree.

Reads an OCI layout's folder, the same as an archive, and what ``docker save`` and ``podman save`` write (OCI image
specification, image-layout.md; for the last one the image tarball of Docker, version 1.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError, UsageError
from builder.inspection.blobs import AGAIN, KINDS, PIECE, Archive, Blob, BlobSource, Folder, document, parsed, plain
from builder.inspection.layers import Layer, Read, members
from builder.inspection.limits import MOST_LAYERS, Budget, limit_of_user
from builder.inspection.tree import Keep, Merging, Tree
from qemu.architecture import native
from stages.outputs.formats import media_types
from stages.outputs.formats.oci_image import platform as platform_of

LAYERS = (media_types.LAYERS, media_types.DOCKER_LAYERS)
ATTACHED = "vnd.docker.reference.type"  # an annotation of what lies in an index and is no image
DEEPEST = 4  # indexes in one another

Json = dict[str, Any]


@dataclass(frozen=True)
class Contents:
    """The tree of an image, and the bytes of each layer's tar archive."""

    tree: Tree
    layer_bytes: tuple[int, ...]


@dataclass(frozen=True)
class ImageFile:
    """An image on this machine's disk. ``digest`` is its manifest's; a docker-archive has none: its configuration's.

    ``platform`` is ``linux/amd64`` or ``linux/arm/v7``; ``manifest`` is empty for a docker-archive.
    """

    path: Path
    digest: str
    platform: str
    config: Json
    layers: tuple[Layer, ...]
    manifest: Json = field(repr=False)
    place: BlobSource = field(repr=False)

    def contents(self, *, hashes: bool = False, keep: Keep = lambda _: False) -> Contents:
        """Read every layer, check it and merge them; with the files' digests, and the contents of those to ``keep``.

        Raises BuildError for a layer that is missing, damaged, or none.
        """
        merging = Merging(hashes=hashes, keep=keep)
        lengths = []
        budget = Budget(limit_of_user())
        for layer in self.layers:
            read = Read()
            merging.lay(members(self.place, layer, read, budget))
            lengths.append(read.bytes)
        return Contents(merging.tree(), tuple(lengths))

    def extract(self, targets: Mapping[tuple[int, int], Path], limit: int) -> None:
        """Write the contents of files (by ``Entry.source``) to paths, ``limit`` bytes of each at most."""
        for layer in self.layers:
            numbers = {number for index, number in targets if index == layer.number}
            if not numbers:
                continue
            with closing(members(self.place, layer)) as of_layer:
                for number, member in enumerate(of_layer):
                    if number in numbers and member.content is not None:
                        left = limit
                        with targets[layer.number, number].open("wb") as file:
                            while piece := member.content.read(min(PIECE, left)):
                                file.write(piece)
                                left -= len(piece)
                    if number == max(numbers):
                        break


def open_image(path: Path, platform: str = "") -> ImageFile:
    """Find the image at ``path`` and read its documents; no layer is read yet.

    ``platform`` is an architecture (Debian's or OCI's name) or ``OS/ARCHITECTURE[/VARIANT]``; by default this
    machine's, or the only one. Raises UsageError where there is no image, or none for the platform; BuildError where
    it is damaged.
    """
    if path.is_dir():
        source: BlobSource = Folder(path)
    elif path.is_file():
        source = Archive.read(path)
    elif path.exists():
        raise UsageError(f"{path} is no image: it is neither a folder nor a file", hint=KINDS)
    else:
        raise UsageError(f"there is no {path}", hint=KINDS)
    if source.has("index.json"):
        return _from_layout(source, platform)
    if source.has("manifest.json"):
        return _from_docker(source, platform)
    raise UsageError(f"{path} is no image: it has neither an index.json nor a manifest.json", hint=KINDS)


# -- platforms -------------------------------------------------------------------------------------


def _text(source: Mapping[str, Any]) -> str:
    """A platform in words: ``linux/arm/v7``; "" where nothing says it."""
    parts = (source.get("os"), source.get("architecture"), source.get("variant"))
    return "/".join(str(part) for part in parts if part)


def _matches(platform: str, asked: str) -> bool:
    """Is the platform the wanted one; where one of them names no variant, any will do."""
    if "/" not in asked:
        asked = "/".join(("linux", *(part for part in platform_of(asked) if part)))
    length = min(len(platform.split("/")), len(asked.split("/")))
    return length > 1 and platform.split("/")[:length] == asked.split("/")[:length]


def _chosen(images: Sequence[ImageFile], path: Path, platform: str) -> ImageFile:
    """The image for the platform, or for this machine, or the only one."""
    fitting = [image for image in images if _matches(image.platform, platform or native())]
    if not fitting and not platform and len(images) == 1:
        return images[0]
    names = ", ".join(sorted({image.platform or "an unknown one" for image in images}))
    if not fitting:
        what = f"{path} has no image for {platform or native()}" if images else f"{path} has no image"
        raise UsageError(what, hint=f"its platforms: {names}" if images else KINDS)
    if len({image.digest for image in fitting}) > 1:
        digests = ", ".join(image.digest for image in fitting)
        raise UsageError(
            f"{path} has several images for {fitting[0].platform}: {digests}",
            hint="copy one of them to a layout of its own, by its tag: skopeo copy oci:FOLDER:TAG oci:OTHER",
        )
    return fitting[0]


# -- layouts ----------------------------------------------------------------------------------------


def _malformed(source: BlobSource, name: str, error: Exception) -> BuildError:
    return BuildError(f"{name} is malformed: {type(error).__name__}: {error}", where=str(source.path), hint=AGAIN)


def _from_layout(source: BlobSource, platform: str) -> ImageFile:
    index = parsed(source, "index.json", plain(source, "index.json"))
    return _chosen(list(_images(source, "index.json", index, 1)), source.path, platform)


def _images(source: BlobSource, name: str, index: Any, depth: int) -> Iterator[ImageFile]:
    """The images of an index and of those in it."""
    try:
        entries = [
            (str(entry.get("mediaType", "")), Blob.of(entry))
            for entry in index["manifests"]
            if ATTACHED not in (entry.get("annotations") or {})
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(source, name, error) from error
    for media_type, blob in entries:
        inner = document(source, blob)
        if media_type in media_types.INDEXES or "manifests" in inner:
            if depth == DEEPEST:
                raise BuildError("indexes lie in one another too deep", where=str(source.path))
            yield from _images(source, blob.name, inner, depth + 1)
        elif _is_image(inner):
            yield _image(source, blob, inner)


def _is_image(manifest: Json) -> bool:
    """Is it an image's manifest (not an artifact's, such as an SBOM's)."""
    config = manifest.get("config")
    return (
        "subject" not in manifest
        and isinstance(config, dict)
        and config.get("mediaType", media_types.CONFIG) in media_types.CONFIGS
    )


def _image(source: BlobSource, blob: Blob, manifest: Json) -> ImageFile:
    try:
        config = document(source, Blob.of(manifest["config"]))
        diff_ids, makers = _ids(config)
        layers = []
        for number, (descriptor, diff_id) in enumerate(zip(manifest["layers"] or (), diff_ids, strict=True)):
            media_type = str(descriptor.get("mediaType", ""))
            if not media_type.startswith(LAYERS) or media_type.endswith("+encrypted"):
                raise BuildError(f"a layer has a media type that cannot be read: {media_type}", where=str(source.path))
            layer = Blob.of(descriptor)
            layers.append(Layer(number, layer, layer.bytes, media_type, diff_id, makers[number]))
        return ImageFile(source.path, blob.digest, _text(config), config, tuple(layers), manifest, source)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(source, blob.digest, error) from error


def _ids(config: Json) -> tuple[list[str], list[str]]:
    """The diff_id of each layer, and what made it as the history has it ("" where it does not tell)."""
    diff_ids = [str(value) for value in config["rootfs"]["diff_ids"] or ()]
    if len(diff_ids) > MOST_LAYERS:
        raise ValueError(f"more than {MOST_LAYERS} layers")
    makers = [str(step.get("created_by", "")) for step in config.get("history") or [] if not step.get("empty_layer")]
    return diff_ids, makers if len(makers) == len(diff_ids) else [""] * len(diff_ids)


# -- docker's archives ---------------------------------------------------------------------------------


def _from_docker(source: BlobSource, platform: str) -> ImageFile:
    manifest = parsed(source, "manifest.json", plain(source, "manifest.json"))
    try:
        images = [
            _docker_image(source, str(entry["Config"]), [str(name) for name in entry["Layers"] or ()])
            for entry in manifest
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(source, "manifest.json", error) from error
    return _chosen(images, source.path, platform)


def _digest_in_name(name: str) -> str:
    """The digest that a file's name tells, or ""."""
    stem = name.rpartition("/")[2].removesuffix(".json")
    return f"sha256:{stem}" if len(stem) == 64 and not set(stem) - set("0123456789abcdef") else ""


def _docker_image(source: BlobSource, name: str, layers: Sequence[str]) -> ImageFile:
    data = document(source, Blob(name, _digest_in_name(name)))
    diff_ids, makers = _ids(data)
    digest = _digest_in_name(name) or "sha256:" + hashlib.sha256(plain(source, name)).hexdigest()
    read_layers = []
    for number, (file, diff_id) in enumerate(zip(layers, diff_ids, strict=True)):
        read_layers.append(Layer(number, Blob(file, ""), source.length(file), "", diff_id, makers[number]))
    return ImageFile(source.path, digest, _text(data), data, tuple(read_layers), {}, source)
