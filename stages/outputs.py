"""Outputs of a finished tree, written into the store and keyed like stages: by the tree and their own options.

An output lies in ``outputs/<key>/``: ``artifact`` (a folder for ``oci``, else one file; for ``dir`` a tar that the host
unpacks) and ``done.json``, which comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.environment import PATH
from stages.events import emit
from stages.export.archives import write_docker_archive, write_oci_archive, write_tar
from stages.export.oci import ImageConfig, LayerSource, platform, write_oci
from stages.key import digest, key_of
from stages.request import Output, Request
from stages.store import Store, boot_id, remove_tree, write_file
from stages.tree import mounted

FORMAT = "1"  # raise it when an exporter's bytes change
FROM_LAYOUT = ("oci-archive", "docker-archive")


@dataclass(frozen=True)
class FinishedTree:
    """A tree and what outputs need to know of it: ``titles`` name the stage that made each layer of ``chain``."""

    key: str
    chain: tuple[str, ...]
    titles: Mapping[str, str]
    environment: Mapping[str, str]

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH in seconds."""
        return int(self.environment["SOURCE_DATE_EPOCH"])


@dataclass
class Exporter:
    """Writes the outputs of one request from one tree."""

    request: Request
    store: Store
    tree: FinishedTree
    scratch: Path
    keys: list[str] = field(default_factory=list)

    def write_all(self) -> None:
        """Write every output that is not in the store yet, side by side, and report each."""
        if not self.request.outputs:
            return
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for _ in pool.map(self._output, range(len(self.request.outputs))):
                pass  # take each result, so that a failure is raised here

    def key(self, output: Output) -> str:
        """The key of an output: the tree with the very layers it has here, the type and the options."""
        return key_of(
            {
                "tree": self.tree.key,
                "layers": digest(" ".join(self.tree.chain)),
                "type": output.type,
                "name": self.request.name,
                "arch": self.request.arch,
                "release": self.tree.environment.get("DIB_RELEASE", ""),
                "epoch": str(self.tree.epoch),
                "outputs": FORMAT,
                **{f"option {name}": value for name, value in output.options.items() if name != "dest"},
            }
        )

    def _output(self, index: int) -> None:
        output = self.request.outputs[index]
        key = self.key(output)
        done = self._ensure(key, output)
        emit(
            "output",
            output=output.type,
            index=index,
            key=key,
            path=str(self.store.root / "outputs" / key),
            changed=output.have != key,
            digest=done["digest"],
            bytes=done["bytes"],
        )

    def _ensure(self, key: str, output: Output) -> dict[str, Any]:
        with self.store.lock(f"output-{key[:32]}"):
            done = self.find(key)
            if done is None:
                done = self._write(key, output)
            self.keys.append(key)
            os.utime(self.store.root / "outputs" / key)
            return done

    def find(self, key: str) -> dict[str, Any] | None:
        """What is known of a finished output, or None."""
        try:
            done: dict[str, Any] = json.loads(
                (self.store.root / "outputs" / key / "done.json").read_text(encoding="utf-8")
            )
        except (OSError, ValueError):
            return None
        if done["boot"] != boot_id() and not (self.store.root / "synced" / key).exists():
            return None
        return done

    def _write(self, key: str, output: Output) -> dict[str, Any]:
        folder = self.store.root / "outputs" / key
        if folder.exists():
            remove_tree(folder)
        with self.store.workplace() as place:
            artifact = place.path / "artifact"
            done: dict[str, Any] = {"boot": boot_id(), "type": output.type, "name": self.request.name}
            done["digest"], done["bytes"] = self._write_artifact(artifact, output)
            write_file(place.path / "done.json", json.dumps(done))
            for name in ("layer", "work"):
                (place.path / name).rmdir()
            (self.store.root / "synced" / key).unlink(missing_ok=True)
            folder.mkdir()
            artifact.rename(folder / "artifact")
            (place.path / "done.json").rename(folder / "done.json")
        return done

    def _write_artifact(self, artifact: Path, output: Output) -> tuple[str, int]:
        if output.type == "oci":
            return self._write_layout(artifact, output)
        if output.type in FROM_LAYOUT:
            return self._write_archive(artifact, output)
        compress = output.options.get("compress", "none") if output.type == "tar" else "none"
        with mounted(self.store, self.tree.chain, self.scratch / f"tree-{output.type}-{id(output)}") as merged:
            write_tar(merged / "tree", artifact, epoch=self.tree.epoch, compress=compress)
        return f"sha256:{_file_digest(artifact)}", artifact.stat().st_size

    def _tag(self, output: Output) -> str:
        return output.options.get("tag", "latest").rpartition(":")[2]

    def _write_layout(self, artifact: Path, output: Output) -> tuple[str, int]:
        with mounted(self.store, self.tree.chain, self.scratch / f"tree-oci-{id(output)}") as merged:
            tree = merged / "tree"
            if output.options.get("layers") == "stages":
                layers = self._stage_layers()
            else:
                layers = [LayerSource(tree, "tree", f"dib-ctr {' '.join(self.request.asked)}")]
            written = write_oci(artifact, self._tag(output), layers, self._config(tree))
        return written.digest, written.bytes

    def _stage_layers(self) -> list[LayerSource]:
        layers = self.store.root / "layers"
        return [
            LayerSource(layers / layer / "tree", "changes", self.tree.titles.get(layer, ""))
            for layer in self.tree.chain
            if (layers / layer / "tree").is_dir()
        ]

    def _config(self, tree: Path) -> ImageConfig:
        architecture, variant = platform(self.request.arch)
        shells = [
            shell
            for shell in ("/bin/bash", "/bin/sh")
            if os.path.lexists(f"{tree}{shell}") or (tree / "usr" / shell[1:]).exists()
        ]
        return ImageConfig(
            architecture=architecture,
            variant=variant,
            epoch=self.tree.epoch,
            cmd=tuple(shells[:1]),
            env={"PATH": PATH},
            title=self.request.name,
            version=self.tree.environment.get("DIB_RELEASE", ""),
        )

    def _write_archive(self, artifact: Path, output: Output) -> tuple[str, int]:
        options = {name: value for name, value in output.options.items() if name in ("layers", "tag")}
        layout = Output("oci", options)
        key = self.key(layout)
        self._ensure(key, layout)
        folder = self.store.root / "outputs" / key / "artifact"
        with artifact.open("wb") as out:
            if output.type == "oci-archive":
                write_oci_archive(folder, out, epoch=self.tree.epoch)
            else:
                tag = output.options.get("tag", "latest")
                name = tag if ":" in tag or "/" in tag else f"{self.request.name}:{tag}"
                write_docker_archive(folder, out, name=name, epoch=self.tree.epoch)
        return f"sha256:{_file_digest(artifact)}", artifact.stat().st_size


def _file_digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def layer_titles(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """Which stage made which layer, for the history of an image."""
    records = (store.find(key) for key in keys)
    return {record.layer: record.title for record in records if record and record.layer}
