"""An image layout (OCI image specification) of trees or of overlay upper directories, described by umoci.

Each layer is compressed while its archive is made, and no archive lies on disk in between. The bytes that result
follow from the arguments and the files alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from stages.outputs.formats import oci_layout
from stages.outputs.formats.compression import Compression, write_layer
from stages.outputs.formats.tar_stream import BlockSink, Written
from stages.outputs.formats.tools import command, explained
from stages.outputs.formats.tree_tar import write_changes, write_contents, write_tree
from stages.outputs.slim.changes import NOTHING, Finish

_LABEL = "org.opencontainers.image."

# Debian's architecture names -> GOARCH and variant, as the images of the same distribution in registries have them.
_PLATFORMS = {
    "armel": ("arm", "v5"),
    "armhf": ("arm", "v7"),
    "arm64": ("arm64", "v8"),
    "aarch64": ("arm64", "v8"),
    "x86_64": ("amd64", ""),
    "i386": ("386", ""),
    "mips64el": ("mips64le", ""),
    "ppc64el": ("ppc64le", ""),
}


@dataclass(frozen=True)
class LayerSource:
    """One layer, and what made it; ``finish`` is what an output changes in its tree.

    It is a whole ``tree``, the ``changes`` in one overlay upper directory, or of a tree only the files that ``finish``
    has another content for (``contents``).
    """

    path: Path
    kind: Literal["tree", "changes", "contents"]
    created_by: str
    finish: Finish = NOTHING


@dataclass(frozen=True)
class ImageConfig:
    """What the image says of itself; ``epoch`` (seconds) is its date, ``architecture`` is in GOARCH's words.

    ``title`` and ``version`` become labels and annotations ``org.opencontainers.image.*``; ``labels`` are more labels.
    ``ports`` are like ``80/tcp``. ``blocks`` is where compressed blocks are kept, if anywhere.
    """

    architecture: str
    epoch: int
    variant: str = ""
    os: str = "linux"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = field(default_factory=Compression)
    blocks: Path | None = None


@dataclass(frozen=True)
class WrittenImage:
    """The digest of the image's manifest (``sha256:...``) and the length of all files of the layout in bytes."""

    digest: str
    bytes: int


def platform(architecture: str) -> tuple[str, str]:
    """GOARCH and variant ("" where there is none) for one of Debian's architecture names."""
    return _PLATFORMS.get(architecture, (architecture, ""))


def _write_layer(target: Path, source: LayerSource, config: ImageConfig) -> oci_layout.Layer:
    epoch, finish = config.epoch, source.finish

    def write(out: BinaryIO | BlockSink) -> Written:
        if source.kind == "tree":
            return write_tree(source.path, out, epoch=epoch, layer=True, finish=finish)
        if source.kind == "contents":
            return write_contents(source.path, out, epoch=epoch, finish=finish)
        return write_changes(source.path, out, epoch=epoch, finish=finish)

    blob = write_layer(target, config.compression, config.blocks, write)
    return oci_layout.Layer(config.compression.media_type, blob.digest, blob.bytes, blob.diff_id, source.created_by)


def _add_layers(built: Path, sources: Sequence[LayerSource], config: ImageConfig) -> list[oci_layout.Layer]:
    layers = []
    for source in sources:
        target = built / "layer"
        layer = _write_layer(target, source, config)
        target.rename(oci_layout.blob(built, layer.digest))
        layers.append(layer)
    return layers


def _describe(umoci: Any, image: str, config: ImageConfig) -> None:
    values = {"title": config.title, "version": config.version, "created": oci_layout.date(config.epoch)}
    annotations = {_LABEL + name: value for name, value in values.items() if value}
    labels = {**annotations, **config.labels}
    arguments = ["--created", oci_layout.date(config.epoch), "--architecture", config.architecture, "--os", config.os]
    several: dict[str, Iterable[str]] = {
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "env": [f"{name}={value}" for name, value in sorted(config.env.items())],
        "volume": sorted(config.volumes),
        "exposedports": sorted(config.ports),
    }
    for option, words in several.items():
        for word in words:
            arguments += [f"--config.{option}", word]
    for option, word in (("user", config.user), ("workingdir", config.workdir), ("stopsignal", config.stop_signal)):
        if word:
            arguments += [f"--config.{option}", word]
    for name, value in sorted(labels.items()):
        arguments += ["--config.label", f"{name}={value}"]
    for name, value in sorted(annotations.items()):
        arguments += ["--manifest.annotation", f"{name}={value}"]
    umoci("config", "--image", image, "--no-history", *arguments)


def write_oci(target: Path, tag: str, layers: Sequence[LayerSource], config: ImageConfig) -> WrittenImage:
    """Write an image layout with one image, ``tag``, made of ``layers`` from the lowest up (there may be none).

    ``target`` must not exist; it appears whole, by a rename, or not at all. Raises BuildError where a command
    fails, OSError where writing does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".oci-", dir=target.parent))
    try:
        umoci, image, built = command("umoci", work), f"image:{tag}", work / "image"
        with explained("umoci"):
            umoci("init", "--layout", "image")
            umoci("new", "--image", image)
            _describe(umoci, image, config)
        platform = {"architecture": config.architecture, "os": config.os}
        if config.variant:
            platform["variant"] = config.variant
        oci_layout.complete(built, _add_layers(built, layers, config), platform, oci_layout.date(config.epoch))
        oci_layout.drop_unnamed(built)
        size = oci_layout.settle(built, config.epoch)
        built.rename(target)
        return WrittenImage(oci_layout.read_image(target).digest, size)
    finally:
        shutil.rmtree(work, ignore_errors=True)
