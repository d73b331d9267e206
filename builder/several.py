"""One image for several architectures: a build for each, then one image index over all (OCI image-index.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from builder import destination, documents
from builder.build import keep_lock, produce
from builder.request import Prepared, Wish, parse_output, prepare
from stages.errors import UsageError
from stages.export import layout
from stages.export.archives import write_oci_archive
from stages.request import Output

if TYPE_CHECKING:
    from builder.build import Conversation

INDEXED = ("oci", "oci-archive")  # outputs that can hold several architectures; of the others each gets its own


@dataclass(frozen=True)
class Part:
    """The build for one architecture: its request and, by the number of the output, the layouts for the index."""

    arch: str
    prepared: Prepared
    layouts: dict[int, Path]


def _with(output: Output, kind: str, place: Path) -> str:
    options = {**output.options, "dest": str(place)}
    return ",".join([kind, *(f"{name}={value}" for name, value in options.items())])


def _wish(wish: Wish, arch: str, name: str, folder: Path) -> tuple[Wish, dict[int, Path]]:
    """The wish for one architecture, and where its part of each index will lie."""
    texts, layouts = [], {}
    for number, text in enumerate(wish.outputs):
        output = parse_output(text)
        if output.type in INDEXED:
            layouts[number] = folder / f"{number}-{arch}.oci"
            texts.append(_with(output, "oci", layouts[number]))
        else:
            target = destination.target_of(output, f"{name}-{arch}", wish.destination)
            texts.append(_with(output, output.type, target))
    return replace(wish, arch=arch, outputs=tuple(texts), name=name), layouts


def check(wish: Wish, arches: Sequence[str]) -> Prepared:
    """Refuse what cannot be, before any build; the request for the first architecture, with the final targets."""
    if len(set(arches)) != len(arches) or not all(arches):
        raise UsageError(f"--arch {','.join(arches)} names one twice, or none", hint="--arch amd64,arm64")
    found = [prepare("build", replace(wish, arch=arch)) for arch in arches]
    names = [prepared.request.arch for prepared in found]
    if len(set(names)) != len(names):
        raise UsageError(f"--arch {','.join(arches)} names one architecture twice", hint="--arch amd64,arm64")
    for output in found[0].request.outputs:
        if output.type not in INDEXED and "dest" in output.options:
            raise UsageError(
                f"the output {output.type} has one file for each architecture, and dest= names one for all",
                hint="leave dest= out: the name gets the architecture; or take oci, which holds them all",
            )
    return found[0]


def build(
    wish: Wish,
    arches: Sequence[str],
    converse: Callable[[Prepared], Conversation],
    *,
    say: Callable[[str], None],
) -> list[Path]:
    """Build for each architecture in turn and put one image over all at each output's place; returns these places.

    Outputs that cannot hold several are written for each, with the architecture in their names. Nothing appears at the
    place of an index before the last build has succeeded.
    """
    first = check(wish, arches)
    name = first.request.name
    with destination.partial(wish.destination.absolute() / name) as folder:
        parts = []
        for arch in arches:
            own, layouts = _wish(wish, prepare("build", replace(wish, arch=arch)).request.arch, name, folder)
            parts.append(Part(own.arch, prepare("build", own), layouts))
        done = []
        for part in parts:
            conversation = converse(part.prepared)
            produce(part.prepared, conversation, load=False, folder=wish.destination, say=say)
            done.append((part.prepared, conversation))
        keep_lock(done, say)
        places = []
        for number, output in enumerate(first.request.outputs):
            if output.type in INDEXED:
                target = first.targets[number]
                digest = _index(parts, number, output, folder, target)
                say(f"{output.type}: {target} ({', '.join(part.arch for part in parts)}, {digest})")
                places.append(target)
        return places


def _index(parts: Sequence[Part], number: int, output: Output, folder: Path, target: Path) -> str:
    """Make the index of one output, and put it and the documents about each of its images into their places."""
    from builder.multiarch import write_index

    layouts = [part.layouts[number] for part in parts]
    epoch = max(_epoch(each) for each in layouts)
    tag = json.loads((layouts[0] / "index.json").read_bytes())["manifests"][0]["annotations"]
    merged = folder / f"{number}.oci"
    digest = write_index(layouts, merged, tag["org.opencontainers.image.ref.name"], epoch)
    finished = merged
    if output.type == "oci-archive":
        finished = folder / f"{number}.tar"
        with finished.open("wb") as out:
            write_oci_archive(merged, out, epoch=epoch)
    target.parent.mkdir(parents=True, exist_ok=True)
    destination.swap(finished, target)
    for part in parts:
        for path in documents.paths(part.layouts[number]):
            if path.is_file():
                suffix = path.name.removeprefix(part.layouts[number].name)
                shutil.move(path, target.with_name(f"{target.name}.{part.arch}{suffix}"))
    return digest


def _epoch(folder: Path) -> int:
    """The date of a layout's image in seconds."""
    return int(datetime.fromisoformat(layout.read_image(folder).config["created"]).timestamp())
