"""One output's artifact, written from a mounted tree: layout, archive or tar, and what it says of itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blockdev.core.atomic_file import write_file
from blockdev.core.checksum_files import CHECKSUMS, beside
from stages.element.environment import PATH
from stages.layers.overlay import mounted
from stages.layers.store import Store
from stages.outputs.finished_tree import DESCRIBED, MANIFEST, FinishedTree, manifest
from stages.outputs.formats.archives import (
    reference,
    write_docker_archive,
    write_oci_archive,
    write_squashfs,
    write_tar,
)
from stages.outputs.formats.compression import Compression
from stages.outputs.formats.gzip_blocks import probe
from stages.outputs.formats.oci_image import ImageConfig, LayerSource, platform, write_oci
from stages.outputs.slim.changes import Finish, finish
from stages.outputs.slim.policy import Policy, find, parse
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.request import CONTAINER_TYPES, Output, Request
from stages.tree import package_database

SHELLS = ("bin/bash", "bin/sh")  # the first of them that a tree has is its image's command
MOST_LAYERS = 120  # of an image: container engines load up to 125


def lowest_merged(stages: int) -> int:
    """How many of so many stages' layers become one, so that an image has MOST_LAYERS with that of the contents."""
    return stages - (MOST_LAYERS - 2) if stages > MOST_LAYERS - 1 else 0


@dataclass(frozen=True)
class Writer:
    """Writes artifacts of one finished tree. ``scratch`` is a folder on a tmpfs for mount points."""

    request: Request
    store: Store
    tree: FinishedTree
    scratch: Path

    def write(self, artifact: Path, output: Output) -> tuple[str, int]:
        """Write a layout (``oci``, a folder), a tar (``tar``, ``dir``), a squashfs; its digest and length in bytes."""
        with mounted(self.store, self.tree.chain, self.scratch / f"tree-{threading.get_ident()}") as merged:
            tree = merged / "tree"
            described = self.described(tree, output)
            changed = finish(tree, self._policy(output, described["os_release"]), {MANIFEST: manifest(described)})
            write_file(artifact.with_name(DESCRIBED), json.dumps(described, sort_keys=True))
            if output.type == "oci":
                return self._layout(artifact, output, tree, changed)
            epoch, options = self.tree.epoch, output.options
            if output.type == "squashfs":
                write_squashfs(tree, artifact, epoch=epoch, compress=options.get("compress", "xz"), finish=changed)
            else:
                compress, prefix = options.get("compress", "none"), options.get("prefix", "")
                write_tar(tree, artifact, epoch=epoch, compress=compress, finish=changed, prefix=prefix)
        for name in CHECKSUMS:
            if name in output.options.get("checksum", "").split("+"):
                write_file(beside(artifact, name), f"{_digest(artifact, name)}\n")
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

    def _policy(self, output: Output, os_release: Mapping[str, str]) -> Policy:
        name = output.options.get("slim", "auto" if output.type in CONTAINER_TYPES else "no")
        if name == "no":
            return Policy("no")
        return find(os_release) if name == "auto" else parse(self.request.slim[name], name, name)

    def described(self, tree: Path, output: Output) -> dict[str, Any]:
        """What is in the tree and what it came from."""
        plan = self.tree.plan
        compression = _compression(output)
        return {
            "name": self.request.name,
            "arch": self.request.arch,
            "epoch": self.tree.epoch,
            "asked": list(self.request.asked),
            "elements": list(self.request.elements),
            "os_release": package_database.os_release(tree),
            "packages": [package.to_json() for package in package_database.read(tree)],
            "repositories": [
                {"index": state.shown, "digest": state.digest, "date": state.date} for state in plan.repositories
            ],
            "stages": [{"title": stage.title, "key": stage.key} for stage in plan.stages],
            "variables": self.tree.told_variables(),
            "compression": compression.tool() if output.type in CONTAINER_TYPES else "",
        }

    def _layout(self, artifact: Path, output: Output, tree: Path, changed: Finish) -> tuple[str, int]:
        if not probe():
            emit(
                events.Note(
                    text="zlib here compresses otherwise than elsewhere: the image's digest is not the one that other "
                    "machines give it (compress=zstd, or an engine with a build image, has no such problem)",
                )
            )
        with contextlib.ExitStack() as mounts:
            if output.options.get("layers") == "stages":
                layers = self._stage_layers(tree, changed, mounts)
            else:
                layers = [LayerSource(tree, "tree", f"dib-ctr {' '.join(self.request.asked)}", changed)]
            written = write_oci(artifact, _tag(output), layers, self._config(tree, output))
        return written.digest, written.bytes

    def _stage_layers(self, tree: Path, changed: Finish, mounts: contextlib.ExitStack) -> list[LayerSource]:
        """A layer for each stage; where that were too many for an engine, the lowest are one."""
        chain = [layer for layer in self.tree.chain if (self.store.root / "layers" / layer / "tree").is_dir()]
        merged = lowest_merged(len(chain))
        sources = []
        if merged:
            below = self.tree.chain[: self.tree.chain.index(chain[merged - 1]) + 1]
            at = self.scratch / f"lowest-{threading.get_ident()}"
            lowest = mounts.enter_context(mounted(self.store, below, at)) / "tree"
            selected = replace(changed, contents={})  # files with another content are in the topmost layer
            sources.append(LayerSource(lowest, "tree", f"dib-ctr: the first {merged} stages", selected))
        for layer in chain[merged:]:
            folder = self.store.root / "layers" / layer / "tree"
            sources.append(LayerSource(folder, "changes", self.tree.titles.get(layer, ""), changed))
        return [*sources, LayerSource(tree, "contents", "dib-ctr", changed)]

    def _config(self, tree: Path, output: Output) -> ImageConfig:
        architecture, variant = platform(self.request.arch)
        config = self.request.config
        shells = [f"/{shell}" for shell in SHELLS if os.path.lexists(tree / shell)]
        own = "entrypoint" in config or "cmd" in config
        return ImageConfig(
            architecture=architecture,
            variant=variant,
            epoch=self.tree.epoch,
            entrypoint=tuple(config.get("entrypoint", ())),
            cmd=tuple(config.get("cmd", ())) if own else tuple(shells[:1]),
            user=config.get("user", ""),
            workdir=config.get("workdir", ""),
            stop_signal=config.get("stop-signal", ""),
            volumes=tuple(config.get("volumes", ())),
            ports=tuple(config.get("ports", ())),
            env={"PATH": PATH, **config.get("env", {})},
            title=self.request.name,
            version=self.tree.release,
            labels=config.get("labels", {}),
            compression=_compression(output),
            blocks=self.store.root / "blocks",
        )


def _compression(output: Output) -> Compression:
    if output.type not in CONTAINER_TYPES:
        return Compression()
    return Compression.chosen(output.options.get("compress", ""), output.options.get("level", ""))


def _tag(output: Output) -> str:
    """The tag in a layout: what follows the last colon of ``tag``, where that is no registry's port."""
    last = output.options.get("tag", "latest").rpartition("/")[2]
    return last.rpartition(":")[2] if ":" in last or last == output.options.get("tag", "latest") else "latest"


def _digest(file: Path, name: str) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, name).hexdigest()


def _measure(file: Path) -> tuple[str, int]:
    return f"sha256:{_digest(file, 'sha256')}", file.stat().st_size
