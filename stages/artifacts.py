"""One output's artifact, written from a mounted tree: layout, archive or tar."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from stages.environment import PATH
from stages.export.archives import reference, write_docker_archive, write_oci_archive, write_tar
from stages.export.oci import ImageConfig, LayerSource, platform, write_oci
from stages.outputs import FinishedTree
from stages.request import Output, Request
from stages.store import Store
from stages.tree import mounted

SHELLS = ("bin/bash", "bin/sh")  # the first of them that a tree has is its image's command


@dataclass(frozen=True)
class Writer:
    """Writes artifacts of one finished tree. ``scratch`` is a folder on a tmpfs for mount points."""

    request: Request
    store: Store
    tree: FinishedTree
    scratch: Path

    def write(self, artifact: Path, output: Output) -> tuple[str, int]:
        """Write a layout (``oci``, a folder) or a tar (``tar``, ``dir``); returns its digest and length in bytes."""
        with mounted(self.store, self.tree.chain, self.scratch / f"tree-{threading.get_ident()}") as merged:
            if output.type == "oci":
                return self._layout(artifact, output, merged / "tree")
            compress = output.options.get("compress", "none") if output.type == "tar" else "none"
            write_tar(merged / "tree", artifact, epoch=self.tree.epoch, compress=compress)
        return _measure(artifact)

    def write_archive(self, artifact: Path, output: Output, layout: Path) -> tuple[str, int]:
        """Write an ``oci-archive`` or ``docker-archive`` of a layout; returns its digest and length in bytes."""
        with artifact.open("wb") as out:
            if output.type == "oci-archive":
                write_oci_archive(layout, out, epoch=self.tree.epoch)
            else:
                tag = output.options.get("tag", "latest")
                name = tag if "/" in tag or ":" in tag else reference(self.request.name, tag)
                write_docker_archive(layout, out, name=name, epoch=self.tree.epoch)
        return _measure(artifact)

    def _layout(self, artifact: Path, output: Output, tree: Path) -> tuple[str, int]:
        if output.options.get("layers") == "stages":
            layers = self._stage_layers()
        else:
            layers = [LayerSource(tree, "tree", f"dib-ctr {' '.join(self.request.asked)}")]
        written = write_oci(artifact, _tag(output), layers, self._config(tree))
        return written.digest, written.bytes

    def _stage_layers(self) -> list[LayerSource]:
        folders = [(layer, self.store.root / "layers" / layer / "tree") for layer in self.tree.chain]
        return [
            LayerSource(folder, "changes", self.tree.titles.get(layer, ""))
            for layer, folder in folders
            if folder.is_dir()
        ]

    def _config(self, tree: Path) -> ImageConfig:
        architecture, variant = platform(self.request.arch)
        shells = [f"/{shell}" for shell in SHELLS if os.path.lexists(tree / shell)]
        return ImageConfig(
            architecture=architecture,
            variant=variant,
            epoch=self.tree.epoch,
            cmd=tuple(shells[:1]),
            env={"PATH": PATH},
            title=self.request.name,
            version=self.tree.environment.get("DIB_RELEASE", ""),
        )


def _tag(output: Output) -> str:
    """The tag in a layout: what follows the last colon of ``tag``, where that is no registry's port."""
    last = output.options.get("tag", "latest").rpartition("/")[2]
    return last.rpartition(":")[2] if ":" in last or last == output.options.get("tag", "latest") else "latest"


def _measure(file: Path) -> tuple[str, int]:
    with file.open("rb") as data:
        return f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}", file.stat().st_size
