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
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.artifacts import MANIFEST, Writer, manifest
from stages.events import emit
from stages.outputs import DESCRIBED, FinishedTree
from stages.request import Request
from stages.slim.apply import apply
from stages.slim.finish import finish
from stages.store import Store, boot_id, remove_tree, write_file
from stages.tree import mounted

if TYPE_CHECKING:
    from blockdev.assemble import Assembled
    from blockdev.layout.model import Layout

QEMU_OPTION = "qemu."  # options of an output that go to qemu-img


def job(
    request: Request, store: Store, tree: FinishedTree, scratch: Path, missing: Sequence[tuple[int, str]]
) -> dict[str, Any]:
    """What the block-device stage needs to make the outputs ``missing`` (place in the request, key)."""
    writer = Writer(request, store, tree, scratch)
    outputs = []
    described: dict[str, Any] = {}
    with mounted(store, tree.chain, scratch / f"tree-{threading.get_ident()}") as merged:
        for index, key in missing:
            output = request.outputs[index]
            described = described or writer.described(merged / "tree", output)
            policy = output.options.get("slim", "no")
            outputs.append(
                {
                    "index": index,
                    "key": key,
                    "type": output.type,
                    "options": dict(output.options),
                    "have": output.have,
                    "slim": policy,
                }
            )
    return {"chain": list(tree.chain), "epoch": tree.epoch, "described": described, "outputs": outputs}


@dataclass(frozen=True)
class Disks:
    """Makes the disk images of one job."""

    request: Request
    store: Store
    scratch: Path

    def make(self, given: Mapping[str, Any], passphrases: Mapping[str, str]) -> None:
        """Make all outputs of the job that are not in the store, from one raw image for each policy; report each."""
        with contextlib.ExitStack() as held:
            for key in sorted(output["key"] for output in given["outputs"]):
                held.enter_context(self.store.lock(f"output-{key[:32]}"))
            for policy in dict.fromkeys(output["slim"] for output in given["outputs"]):
                wanted = [output for output in given["outputs"] if output["slim"] == policy]
                missing = [output for output in wanted if not self._folder(output).is_dir()]
                if missing:
                    self._write(given, missing, policy, passphrases)
                for output in wanted:
                    self._report(output)

    def _folder(self, output: Mapping[str, Any]) -> Path:
        return self.store.root / "outputs" / str(output["key"])

    def _report(self, output: Mapping[str, Any]) -> None:
        done = json.loads((self._folder(output) / "done.json").read_text(encoding="utf-8"))
        emit(
            "output",
            output=output["type"],
            index=output["index"],
            key=output["key"],
            path=str(self._folder(output)),
            changed=output["have"] != output["key"],
            digest=done["digest"],
            image=done["image"],
            bytes=done["bytes"],
            more=done["more"],
        )

    def _write(
        self,
        given: Mapping[str, Any],
        outputs: Sequence[Mapping[str, Any]],
        policy: str,
        passphrases: Mapping[str, str],
    ) -> None:
        from blockdev import assemble
        from blockdev.configuration.read import read
        from blockdev.filesystems import measure, minimum_size
        from blockdev.layout.options import Options
        from blockdev.layout.plan import plan

        disk = self.request.disk
        options = Options(**{**disk["options"], "root_options": tuple(disk["options"]["root_options"])})
        configuration = read(disk["text"], disk["file"])
        with self.store.workplace() as place, self._tree(given, policy, place.path) as tree:
            first = plan(configuration, options, 0)
            points = [one.point.strip("/") for one in first.file_systems if one.point.startswith("/")]
            for point in points:
                (tree / point).mkdir(parents=True, exist_ok=True)
            statistics = measure(tree, [point for point in points if point])
            used = sum(-(-size // 4096) * 4096 for size in statistics.sizes) + 4096 * statistics.folders
            layout = plan(configuration, options, used, minimum_size(first.root.kind, statistics))
            content = assemble.Content(
                tree,
                given["epoch"],
                options.seed,
                {name: base64.b64decode(text) for name, text in passphrases.items()},
            )
            images = place.path / "images"
            images.mkdir()
            assembled = assemble.assemble(layout, content, images, lambda text: emit("note", text=text))
            for remark in (*layout.remarks, *assembled.remarks):
                emit("note", text=remark)
            self._convert(given, outputs, layout, assembled, place.path)

    @contextlib.contextmanager
    def _tree(self, given: Mapping[str, Any], policy: str, place: Path) -> Iterator[Path]:
        """The tree as the disk is to have it, in a folder that can be written to and is thrown away."""
        from stages.slim.policy import Policy, find, parse

        upper, work = place / "upper", place / "overlay"
        upper.mkdir()
        work.mkdir()
        described = given["described"]
        if policy == "no":
            chosen = Policy("no")
        elif policy == "auto":
            chosen = find(described["os_release"])
        else:
            chosen = parse(self.request.slim[policy], policy, policy)
        with mounted(self.store, given["chain"], self.scratch / "disk-tree", upper, work) as merged:
            tree = merged / "tree"
            apply(tree, finish(tree, chosen, {MANIFEST: manifest(described)}))
            yield tree

    def _convert(
        self,
        given: Mapping[str, Any],
        outputs: Sequence[Mapping[str, Any]],
        layout: Layout,
        assembled: Assembled,
        place: Path,
    ) -> None:
        """Turn the raw images into the outputs and put these into the store."""
        from blockdev import convert

        folders = {output["key"]: place / f"output-{number}" for number, output in enumerate(outputs)}
        wishes: dict[str, list[tuple[Path, convert.Wish]]] = {disk.name: [] for disk in layout.disks}
        for output in outputs:
            folders[output["key"]].mkdir()
            for number, disk in enumerate(layout.disks):
                name = self.request.name if not number else f"{self.request.name}-{disk.name}"
                target = folders[output["key"]] / ("artifact" if not number else f"artifact-{disk.name}")
                wishes[disk.name].append((target, wish(output["type"], output["options"], name, given["epoch"], name)))
        digests: dict[Path, tuple[str, int]] = {}
        for disk in layout.disks:
            found = convert.convert_all(assembled.images[disk.name], wishes[disk.name])
            for (target, _), made in zip(wishes[disk.name], found, strict=True):
                digests[target] = (f"sha256:{made.sha256}", made.bytes)
            assembled.images[disk.name].unlink()
        for output in outputs:
            folder = folders[output["key"]]
            digest, length = digests[folder / "artifact"]
            write_file(folder / DESCRIBED, json.dumps(given["described"], sort_keys=True))
            done = {
                "boot": boot_id(),
                "type": output["type"],
                "name": self.request.name,
                "digest": digest,
                "bytes": length,
                "image": "",
                "more": [disk.name for disk in layout.disks[1:]],
                "root_hashes": dict(assembled.root_hashes),
            }
            write_file(folder / "done.json", json.dumps(done))
            final = self._folder(output)
            if final.exists():
                remove_tree(final)
            folder.rename(final)


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
