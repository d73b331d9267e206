"""An image layout (OCI image specification) written by umoci from trees or from overlay upper directories.

Each layer goes to umoci through a pipe: the archive is made while umoci compresses it, and no archive lies on disk in
between. The bytes that result follow from the arguments and the files alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from stages.export import layout
from stages.export.archive import write_changes, write_tree
from stages.export.commands import command, explained, feed
from stages.export.tarstream import Written

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
    """One layer: a whole ``tree`` or the ``changes`` in one overlay upper directory, and what made it."""

    path: Path
    kind: Literal["tree", "changes"]
    created_by: str


@dataclass(frozen=True)
class ImageConfig:
    """What the image says of itself; ``epoch`` (seconds) is its date, ``architecture`` is in GOARCH's words.

    ``title`` and ``version`` become labels and annotations ``org.opencontainers.image.*``; ``labels`` are more labels.
    """

    architecture: str
    epoch: int
    variant: str = ""
    os: str = "linux"
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenImage:
    """The digest of the image's manifest (``sha256:...``) and the length of all files of the layout in bytes."""

    digest: str
    bytes: int


def platform(architecture: str) -> tuple[str, str]:
    """GOARCH and variant ("" where there is none) for one of Debian's architecture names."""
    return _PLATFORMS.get(architecture, (architecture, ""))


def date(epoch: int) -> str:
    """Seconds since 1970 as RFC 3339 has them."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _add_layer(umoci: Any, image: str, layer: LayerSource, epoch: int) -> None:
    def write(pipe: BinaryIO) -> Written:
        if layer.kind == "tree":
            return write_tree(layer.path, pipe, epoch=epoch, layer=True)
        return write_changes(layer.path, pipe, epoch=epoch)

    history = ("--history.created", date(epoch), "--history.created_by", layer.created_by)
    feed(umoci.bake("raw", "add-layer", "--image", image, *history, "/proc/self/fd/0"), write)


def _describe(umoci: Any, image: str, config: ImageConfig) -> None:
    told = {"title": config.title, "version": config.version, "created": date(config.epoch)}
    annotations = {_LABEL + name: value for name, value in told.items() if value}
    labels = {**annotations, **config.labels}
    arguments = ["--created", date(config.epoch), "--architecture", config.architecture, "--os", config.os]
    for word in config.cmd:
        arguments += ["--config.cmd", word]
    for name, value in sorted(config.env.items()):
        arguments += ["--config.env", f"{name}={value}"]
    for name, value in sorted(labels.items()):
        arguments += ["--config.label", f"{name}={value}"]
    for name, value in sorted(annotations.items()):
        arguments += ["--manifest.annotation", f"{name}={value}"]
    umoci("config", "--image", image, "--no-history", *arguments)


def write_oci(target: Path, tag: str, layers: Sequence[LayerSource], config: ImageConfig) -> WrittenImage:
    """Write an image layout with one image, ``tag``, made of ``layers`` from the lowest up (there may be none).

    ``target`` must not exist; it appears whole, by a rename, or not at all. Raises BuildError where umoci fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".oci-", dir=target.parent))
    try:
        umoci, image, built = command("umoci", work), f"image:{tag}", work / "image"
        with explained("umoci"):
            umoci("init", "--layout", "image")
            umoci("new", "--image", image)
            for layer in layers:
                _add_layer(umoci, image, layer, config.epoch)
            _describe(umoci, image, config)
            layout.set_platform(built, config.architecture, config.variant, config.os)
            layout.drop_unnamed(built)
        size = layout.settle(built, config.epoch)
        built.rename(target)
        return WrittenImage(layout.read_image(target).digest, size)
    finally:
        shutil.rmtree(work, ignore_errors=True)
