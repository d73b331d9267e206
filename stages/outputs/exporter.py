"""Outputs of a finished tree, written into the store and keyed like stages: by the tree and their own options.

An output lies in ``outputs/<key>/``: ``artifact`` (a folder for ``oci``, else one file; for ``dir`` a tar that the host
unpacks), ``described.json``, which says what is in it and what it came from, and ``done.json``, which comes last
(``stages.layers.finished_output``).

Outputs are made of layers that are what was kept (``stages.layers.layer_digests``): the comparison runs while they are
written, and none is told of, or kept, before it has ended.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core.digest import digest
from stages.layers.finished_output import FinishedOutput, write_done
from stages.layers.store import Store
from stages.outputs.delivery import Sent
from stages.outputs.finished_tree import DESCRIBED, FinishedTree
from stages.outputs.store import OutputStore
from stages.plan.key import key_of
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.request import DISK_TYPES, Output, Request

LAST_USE = 3600.0  # seconds
FORMAT = "4"  # raise it when an exporter's bytes change
DISK_FORMAT = "4"  # the same for disk images
ELSEWHERE = ("dest", "documents")  # options that the host follows, not the build container
FROM_LAYOUT = ("oci-archive", "docker-archive")


@dataclass
class Exporter:
    """Writes the outputs of one request from one tree."""

    request: Request
    store: Store
    tree: FinishedTree
    scratch: Path
    sent: Sent = field(default_factory=Sent)  # what was reported for the host to fetch
    _reads_tree: bool = False
    outputs: OutputStore = field(init=False)

    def __post_init__(self) -> None:
        self.outputs = OutputStore(self.store)

    def write_all(self) -> None:
        """Write every output that is not in the store yet, side by side, and report each."""
        if not self.request.outputs:
            return
        self._reads_tree = bool(self.lacking())
        if self._reads_tree:
            self.store.digests.check(self.tree.chain)
        there, missing = self._disks()
        plain = [index for index, output in enumerate(self.request.outputs) if output.type not in DISK_TYPES]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for _ in pool.map(self._output, [*plain, *there]):
                pass  # take each result, so that a failure is raised here
        if missing:
            from stages.outputs.disk.job import job

            self.store.digests.require(self.tree.chain)
            emit(events.Assemble(job=job(self.request, self.store, self.tree, self.scratch, missing)))

    def _lies_there(self, output: Output, key: str) -> bool:
        return bool(output.known) and output.have == key

    def lacking(self) -> list[tuple[str, Output]]:
        """The outputs, with their keys, that are neither at their destination already nor in the store."""
        keyed = [(self.key(output), output) for output in self.request.outputs]
        return [
            (key, output) for key, output in keyed if not self._lies_there(output, key) and not self.outputs.find(key)
        ]

    def tell(self) -> None:
        """Report each output, none of which is lacking: as what lies at its destination, or in the store."""
        for index in range(len(self.request.outputs)):
            self._output(index)

    def _disks(self) -> tuple[list[int], list[tuple[int, str]]]:
        """The places of disk images that are in the store or where they belong, and those of the others with keys."""
        there: list[int] = []
        missing: list[tuple[int, str]] = []
        for index, output in enumerate(self.request.outputs):
            if output.type in DISK_TYPES:
                key = self.key(output)
                if not self._lies_there(output, key):
                    self._let_go_of_damaged(key, output.type)
                if self._lies_there(output, key) or self.outputs.find(key):
                    there.append(index)
                else:
                    missing.append((index, key))
        return there, missing

    def key(self, output: Output) -> str:
        """The key of an output: the tree with the very layers it has here, the type and the options."""
        slim = output.options.get("slim", "")
        disk: dict[str, str] = {}
        if output.type in DISK_TYPES:
            disk = {"disk": digest(json.dumps(dict(self.request.disk), sort_keys=True)), "disks": DISK_FORMAT}
        return key_of(
            {
                "tree": self.tree.plan.tree_key,
                "layers": digest(" ".join(self.tree.chain)),
                "type": output.type,
                "name": self.request.name,
                "arch": self.request.arch,
                "asked": " ".join(self.request.asked),
                "elements": " ".join(self.request.elements),
                # As the description tells them: what a secret changes in the tree, the tree's key has.
                "variables": digest(json.dumps(self.tree.told_variables(), sort_keys=True)),
                "config": digest(json.dumps(self.request.config, sort_keys=True)),
                "slim": digest(self.request.slim.get(slim, "")),
                "outputs": FORMAT,
                **disk,
                **{f"option {name}": value for name, value in output.options.items() if name not in ELSEWHERE},
            }
        )

    def _output(self, index: int) -> None:
        output = self.request.outputs[index]
        key = self.key(output)
        if self._lies_there(output, key):
            emit(events.Output(output=output.type, index=index, key=key, path="", changed=False, **output.known))
            return
        self._let_go_of_damaged(key, output.type)
        finished = self.ensure(key, output)
        self.sent.outputs[index] = key
        if self._reads_tree:  # nothing is told of before the layers are known to be sound: else it is told of twice
            self.store.digests.require(self.tree.chain)
        emit(
            events.Output(
                output=output.type,
                index=index,
                key=key,
                path=str(self.outputs.folder(key)),
                changed=True,
                digest=finished.digest,
                image=finished.image,
                bytes=finished.bytes,
                more=finished.more,
            )
        )

    def ensure(self, key: str, output: Output) -> FinishedOutput:
        """Write the output of this key unless it is there; returns what is known of it."""
        with self.outputs.lock(key):
            finished = self.outputs.find(key)
            if finished is None:
                finished = self._write(key, output)
            folder = self.outputs.folder(key)
            # The last use, for prune, to the hour: a host may be reading the folder, and it must not change under tar.
            if time.time() - folder.stat().st_mtime > LAST_USE:
                os.utime(folder)
            return finished

    def _let_go_of_damaged(self, key: str, kind: str) -> None:
        """Remove an output that the store has, where it is not what was written: it is going to be delivered."""
        with self.outputs.lock(key):
            wrong = self.outputs.let_go_of_damaged(key)
        if wrong:
            emit(events.Note(text=f"the {kind} in the store: {wrong}; it is made again, the disk may be failing"))

    def _artifact(self, artifact: Path, output: Output) -> tuple[str, int, str]:
        """Write the artifact; its digest, its length in bytes, and the digest of the manifest of the image in it."""
        # Imported only when something is written: a build with nothing changed has half a second for everything.
        from stages.outputs.artifact import Writer

        writer = Writer(self.request, self.store, self.tree, self.scratch)
        if output.type not in FROM_LAYOUT:
            digest, length = writer.write(artifact, output)
            return digest, length, digest if output.type == "oci" else ""
        options = {name: value for name, value in output.options.items() if name not in ELSEWHERE}
        layout = Output("oci", options)
        key = self.key(layout)
        self._let_go_of_damaged(key, layout.type)
        image = self.ensure(key, layout).image
        self.sent.helpers.add(key)
        source = self.outputs.folder(key)
        shutil.copyfile(source / DESCRIBED, artifact.with_name(DESCRIBED))
        digest, length = writer.write_archive(artifact, output, source / "artifact")
        return digest, length, image

    def _write(self, key: str, output: Output) -> FinishedOutput:
        self.outputs.clear(key)
        with self.store.workplace() as workplace:
            artifact = workplace.path / "artifact"
            started = time.monotonic()
            digest, length, image = self._artifact(artifact, output)
            seconds = round(time.monotonic() - started, 3)
            for name in ("layer", "work"):
                (workplace.path / name).rmdir()
            finished = write_done(
                workplace.path,
                {"artifact": digest} if artifact.is_file() else {},
                type=output.type,
                name=self.request.name,
                digest=digest,
                bytes=length,
                image=image,
                seconds=seconds,
            )
            self.store.digests.require(self.tree.chain)
            self.outputs.put(key, workplace.path)
            workplace.path.mkdir()
        return finished
