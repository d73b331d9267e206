"""Disk images of a finished tree: the block-device stage.

It has a build container of its own, whose image has the tools for disks. The container that built the tree asks for it
with a job, a value that JSON can hold; the host starts the other one and hands it the job (command ``assemble``).

``Request.disk`` has: ``text`` and ``file`` of the block-device configuration, ``options`` (the fields of
``blockdev.layout.options.Options``), ``variables`` for the elements, ``image`` (the digest of the image with the tools)
and ``nonce`` (for images that cannot be the same twice).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blockdev.core import typed_json
from blockdev.core.atomic_file import write_file
from stages.layers.finished_output import write_done
from stages.layers.overlay import mounted
from stages.layers.store import Store
from stages.outputs.artifact import Writer
from stages.outputs.delivery import Sent
from stages.outputs.finished_tree import DESCRIBED, MANIFEST, FinishedTree, manifest
from stages.outputs.slim.changes import apply, finish
from stages.outputs.slim.policy import Policy, find, parse
from stages.outputs.store import OutputStore
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.events import DiskJob, DiskOutput
from stages.protocol.request import QEMU_OPTION, Request

if TYPE_CHECKING:
    from blockdev.layout.model import Layout

_BLOCK = 4096


def job(
    request: Request, store: Store, tree: FinishedTree, scratch: Path, missing: Sequence[tuple[int, str]]
) -> DiskJob:
    """What the block-device stage needs to make the outputs ``missing`` (place in the request, key)."""
    writer = Writer(request, store, tree, scratch)
    outputs = [
        DiskOutput(
            index=index,
            key=key,
            type=request.outputs[index].type,
            options=dict(request.outputs[index].options),
            have=request.outputs[index].have,
            slim=request.outputs[index].options.get("slim", "no"),
        )
        for index, key in missing
    ]
    with mounted(store, tree.chain, scratch / f"tree-{threading.get_ident()}") as merged:
        described = writer.described(merged / "tree", request.outputs[missing[0][0]])
        more: dict[str, Any] = {}
        if request.disk.get("privileged"):
            from stages.outputs.disk.privileged import export_tree

            policy = _policy(request, described, outputs[0].slim)
            changed = finish(merged / "tree", policy, {MANIFEST: manifest(described)})
            more = export_tree(request, store, tree, merged / "tree", changed)
            more["used"], more["least"] = measured(request, merged / "tree")
    lent = store.lend(*needed(tree.chain, more.get("tree", "")))
    return DiskJob(chain=list(tree.chain), epoch=tree.epoch, described=described, outputs=outputs, lent=lent, **more)


def needed(chain: Sequence[str], tar: str) -> tuple[str, ...]:
    """What of the store the block-device stage reads, by the names of pins: layers, and perhaps a tree as a tar."""
    tree = (f"outputs/{Path(tar).parent.name}",) if tar else ()
    return (*(f"layers/{layer}" for layer in chain), *tree)


def _policy(request: Request, described: Mapping[str, Any], name: str) -> Policy:
    """The policy of that name: disks are whole unless asked otherwise."""
    if name == "no":
        return Policy("no")
    return find(described["os_release"]) if name == "auto" else parse(request.slim[name], name, name)


def layout_of(request: Request, used: int = 0, least: int = 0) -> Layout:
    """The layout for a tree with ``used`` bytes of files that needs a root file system of ``least`` bytes."""
    from blockdev.configuration.read import read
    from blockdev.layout.options import Options
    from blockdev.layout.plan import plan

    disk = request.disk
    options = typed_json.read(Options, disk["options"])
    return plan(read(disk["text"], disk["file"]), options, used, least)


def measured(request: Request, tree: Path) -> tuple[int, int]:
    """What the root file system is to hold of a tree: bytes of files, and bytes that it must have at least."""
    from blockdev.filesystems import KINDS, measure, minimum_size

    layout = layout_of(request)
    points = [system.point.strip("/") for system in layout.file_systems if system.point.startswith("/")]
    statistics = measure(tree, [point for point in points if point])
    used = sum(-(-size // _BLOCK) * _BLOCK for size in statistics.sizes) + _BLOCK * statistics.folders
    return used, minimum_size(layout.root.kind, statistics) if layout.root.kind in KINDS else used


class Assembled(Protocol):
    """What either assembly gives: raw images by disk, root hashes by verity node, and what is worth a line."""

    @property
    def images(self) -> Mapping[str, Path]: ...

    @property
    def root_hashes(self) -> Mapping[str, str]: ...

    @property
    def remarks(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Disks:
    """Makes the disk images of one job."""

    request: Request
    store: Store
    scratch: Path
    elements: Sequence[tuple[str, Path]] = ()
    sent: Sent = field(default_factory=Sent)  # what was reported for the host to fetch

    def make(self, disk_job: DiskJob, passphrases: Mapping[str, str]) -> None:
        """Make all outputs of the job that are not in the store, from one raw image for each policy; report each."""
        self.store.take_over(disk_job.lent, *needed(disk_job.chain, disk_job.tree))
        with contextlib.ExitStack() as held:
            for key in sorted({output.key for output in disk_job.outputs}):
                self.store.pin(f"outputs/{key}")
                held.enter_context(self.outputs.lock(key))
            for policy in dict.fromkeys(output.slim for output in disk_job.outputs):
                of_policy = [output for output in disk_job.outputs if output.slim == policy]
                # Two outputs may be one, at two places; and another build may have written it meanwhile.
                missing = {output.key: output for output in of_policy if self.outputs.find(output.key) is None}
                if missing:
                    self._write(disk_job, list(missing.values()), policy, passphrases)
                for output in of_policy:
                    self._report(output)

    @functools.cached_property
    def outputs(self) -> OutputStore:
        """The outputs of the store."""
        return OutputStore(self.store)

    def _report(self, output: DiskOutput) -> None:
        finished = self.outputs.find(output.key)
        assert finished is not None, "it has just been written"
        if output.have != output.key:
            self.sent.outputs[output.index] = output.key
        emit(
            events.Output(
                output=output.type,
                index=output.index,
                key=output.key,
                path=str(self.outputs.folder(output.key)),
                changed=output.have != output.key,
                digest=finished.digest,
                image=finished.image,
                bytes=finished.bytes,
                more=finished.more,
            )
        )

    def _write(
        self,
        disk_job: DiskJob,
        outputs: Sequence[DiskOutput],
        policy: str,
        passphrases: Mapping[str, str],
    ) -> None:
        plain = {name: base64.b64decode(text) for name, text in passphrases.items()}
        with self.store.workplace() as workplace:
            if disk_job.tree:
                from stages.outputs.disk import privileged

                with privileged.restore_owner(self.store, Path(disk_job.tree)):
                    layout = layout_of(self.request, disk_job.used, disk_job.least)
                    assembled_disks = privileged.assemble(
                        self.request, self.store, self.elements, disk_job, layout, workplace.path, plain
                    )
                    self._finish(disk_job, outputs, layout, assembled_disks, workplace.path)
                return
            with self._tree(disk_job, policy, workplace.path) as tree:
                layout, assembled = self._assemble(disk_job, tree, workplace.path / "images", plain)
            self._finish(disk_job, outputs, layout, assembled, workplace.path)

    def _assemble(
        self, disk_job: DiskJob, tree: Path, images: Path, passphrases: Mapping[str, bytes]
    ) -> tuple[Layout, Assembled]:
        from blockdev import assemble

        for system in layout_of(self.request).file_systems:
            if system.point.startswith("/"):
                (tree / system.point.strip("/")).mkdir(parents=True, exist_ok=True)
        layout = layout_of(self.request, *measured(self.request, tree))
        content = assemble.Content(tree, disk_job.epoch, self.request.disk["options"]["seed"], passphrases)
        images.mkdir()
        return layout, assemble.assemble(layout, content, images, lambda text: emit(events.Note(text=text)))

    def _finish(
        self,
        disk_job: DiskJob,
        outputs: Sequence[DiskOutput],
        layout: Layout,
        assembled: Assembled,
        folder: Path,
    ) -> None:
        for remark in (*layout.remarks, *assembled.remarks):
            emit(events.Note(text=remark))
        self._convert(disk_job, outputs, layout, assembled, folder)

    @contextlib.contextmanager
    def _tree(self, disk_job: DiskJob, policy: str, folder: Path) -> Iterator[Path]:
        """The tree as the disk is to have it, in a folder that can be written to and is thrown away."""
        upper, work = folder / "upper", folder / "overlay"
        upper.mkdir()
        work.mkdir()
        described = disk_job.described
        chosen = _policy(self.request, described, policy)
        with mounted(self.store, disk_job.chain, self.scratch / "disk-tree", upper, work) as merged:
            tree = merged / "tree"
            apply(tree, finish(tree, chosen, {MANIFEST: manifest(described)}))
            yield tree

    def _convert(
        self,
        disk_job: DiskJob,
        outputs: Sequence[DiskOutput],
        layout: Layout,
        assembled: Assembled,
        work_folder: Path,
    ) -> None:
        """Turn the raw images into the outputs and put these into the store."""
        from blockdev import convert

        folders = {output.key: work_folder / f"output-{number}" for number, output in enumerate(outputs)}
        wishes: dict[str, list[tuple[Path, convert.Wish]]] = {disk.name: [] for disk in layout.disks}
        for output in outputs:
            folders[output.key].mkdir()
            for number, disk in enumerate(layout.disks):
                name = self.request.name if not number else f"{self.request.name}-{disk.name}"
                target = folders[output.key] / ("artifact" if not number else f"artifact-{disk.name}")
                wishes[disk.name].append((target, wish(output.type, output.options, name, disk_job.epoch, name)))
        digests: dict[Path, tuple[str, int]] = {}
        for disk in layout.disks:
            results = convert.convert_all(assembled.images[disk.name], wishes[disk.name], consume=True)
            for (target, _), converted in zip(wishes[disk.name], results, strict=True):
                digests[target] = (f"sha256:{converted.sha256}", converted.bytes)
            assembled.images[disk.name].unlink(missing_ok=True)  # a raw output may have got the file itself
        for output in outputs:
            folder = folders[output.key]
            digest, length = digests[folder / "artifact"]
            write_file(folder / DESCRIBED, json.dumps(disk_job.described, sort_keys=True))
            write_done(
                folder,
                {path.name: sha256 for path, (sha256, _) in digests.items() if path.parent == folder},
                type=output.type,
                name=self.request.name,
                digest=digest,
                bytes=length,
                image="",
                more=tuple(disk.name for disk in layout.disks[1:]),
                root_hashes=dict(assembled.root_hashes),
            )
            self.outputs.put(output.key, folder)


def wish(kind: str, options: Mapping[str, str], name: str, epoch: int, seed: str) -> Any:
    """What an output's options ask of ``blockdev.convert``; a ``Wish``."""
    from blockdev.convert import Wish

    checksums = options.get("checksum", "sha256")
    return Wish(
        format=kind,
        name=name,
        epoch=epoch,
        seed=seed,
        compression=options.get("compress", ""),
        level=int(options["level"]) if "level" in options else None,
        options={key.removeprefix(QEMU_OPTION): text for key, text in options.items() if key.startswith(QEMU_OPTION)},
        checksums=() if checksums == "none" else tuple(checksums.split("+")),
    )
