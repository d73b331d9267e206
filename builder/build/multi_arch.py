"""One image for several architectures: a build for each, then one image index over all (OCI image-index.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.errors import UsageError
from builder import destination
from builder.build.run import keep_lock, produce, remember
from builder.describe import documents
from builder.destination import FILES, is_files, place_locks
from builder.request.choices import parse_arch
from builder.request.options import BuildOptions
from builder.request.outputs import parse_output
from builder.request.prepare import prepare
from builder.request.prepared_build import PreparedBuild
from stages.outputs.formats import media_types, oci_layout
from stages.outputs.formats.archives import write_oci_archive
from stages.protocol.request import Output

if TYPE_CHECKING:
    from builder.build.run import BuildSession

INDEXED = ("oci", "oci-archive")  # outputs that can hold several architectures; of the others each gets its own


@dataclass(frozen=True)
class Part:
    """The build for one architecture: its request and, by the number of the output, the layouts for the index.

    ``rest`` are outputs that hold this architecture alone: where they are made, and where they are to lie.
    """

    arch: str
    prepared: PreparedBuild
    layouts: dict[int, Path]
    rest: dict[Path, Path]


def _with(output: Output, kind: str, path: Path) -> str:
    options = {**output.options, "dest": str(path)}
    return ",".join([kind, *(f"{name}={value}" for name, value in options.items())])


def _part(options: BuildOptions, environment: Mapping[str, str], arch: str, name: str, folder: Path) -> Part:
    """The build for one architecture, all of whose outputs land in ``folder`` first."""
    texts, layouts, rest = [], {}, {}
    for number, text in enumerate(options.outputs):
        output = parse_output(text)
        if output.type in INDEXED:
            layouts[number] = folder / f"{number}-{arch}.oci"
            texts.append(_with(output, "oci", layouts[number]))
        else:
            target = _target(output, arch, name, options)
            partial = folder / f"{number}-{arch}" / target.name  # what lies beside it, checksums say, is named after it
            rest[partial] = target
            texts.append(_with(output, output.type, partial))
    own = replace(options, arch=arch, outputs=tuple(texts), name=name)
    return Part(arch, prepare("build", own, environment), layouts, rest)


def _target(output: Output, arch: str, name: str, options: BuildOptions) -> Path:
    return destination.target_of(output, f"{name}-{arch}", options.destination)


def check(options: BuildOptions, arches: Sequence[str], environment: Mapping[str, str]) -> PreparedBuild:
    """Refuse what cannot be, before any build; the request for the first architecture, with the final targets."""
    if len(set(arches)) != len(arches) or not all(arches):
        raise UsageError(f"--arch {','.join(arches)} names one twice, or none", hint="--arch amd64,arm64")
    if any(is_files(text) for text in options.outputs):
        raise UsageError(
            f"the output {FILES} has one place for each file, whatever the architecture", hint="name one with --arch"
        )
    requests = [prepare("build", replace(options, arch=arch), environment) for arch in arches]
    names = [prepared.request.arch for prepared in requests]
    if len(set(names)) != len(names):
        raise UsageError(f"--arch {','.join(arches)} names one architecture twice", hint="--arch amd64,arm64")
    for output in requests[0].request.outputs:
        if output.type not in INDEXED and "dest" in output.options:
            raise UsageError(
                f"the output {output.type} has one file for each architecture, and dest= names one for all",
                hint="leave dest= out: the name gets the architecture; or take oci, which holds them all",
            )
        if output.type not in INDEXED:
            targets = [_target(output, arch, requests[0].request.name, options) for arch in names]
            destination.check_targets([output] * len(targets), targets)
    return requests[0]


def build(
    options: BuildOptions,
    arches: Sequence[str],
    environment: Mapping[str, str],
    open_session: Callable[[PreparedBuild], BuildSession],
    *,
    say: Callable[[str], None],
    on_note: Callable[[str], None],
) -> list[Path]:
    """Build for each architecture in turn and put one image over all at each output's place; returns these places.

    Outputs that cannot hold several are written for each, with the architecture in their names. Nothing appears before
    the last build has succeeded. ``on_note`` hears at once what is waited for.
    """
    first = check(options, arches, environment)
    destination.sweep(options.destination.absolute())
    with place_locks.held(first.targets, on_note):
        return _build_all(first, options, arches, environment, open_session, say)


def _build_all(
    first: PreparedBuild,
    options: BuildOptions,
    arches: Sequence[str],
    environment: Mapping[str, str],
    open_session: Callable[[PreparedBuild], BuildSession],
    say: Callable[[str], None],
) -> list[Path]:
    name = first.request.name
    with destination.partial(options.destination.absolute() / name) as folder:
        parts = [_part(options, environment, parse_arch(arch), name, folder) for arch in arches]
        done = []
        for part in parts:
            session = open_session(part.prepared)
            produce(part.prepared, session, load=False, folder=options.destination, say=lambda _: None)
            done.append((part.prepared, session))
        keep_lock(done, say)
        coming: dict[Path, Path] = {}
        places, lines = [], []
        for part in parts:
            for built, target in part.rest.items():
                coming |= {target.with_name(file.name): file for file in sorted(built.parent.iterdir())}
                lines.append(f"{part.arch}: {target}")
                places.append(target)
        for number, output in enumerate(first.request.outputs):
            if output.type in INDEXED:
                target = first.targets[number]
                digest, index_files = _index(parts, number, output, folder, target)
                coming |= index_files
                lines.append(f"{output.type}: {target} ({', '.join(part.arch for part in parts)}, {digest})")
                places.append(target)
            elif output.type == "dir" and output.options.get("closed", "yes") == "yes":
                for part in parts:
                    built = next(built for built in part.rest if built.parent.name == f"{number}-{part.arch}")
                    destination.close_tree(built, part.rest[built])
        _settle(coming, places, replace=options.replace)
        for part, (prepared, session) in zip(parts, done, strict=True):
            targets = {
                number: part.rest.get(target, first.targets[number]) for number, target in enumerate(prepared.targets)
            }
            remember(prepared, session, targets)
        for line in lines:
            say(line)
        return places


def _index(
    parts: Sequence[Part], number: int, output: Output, folder: Path, target: Path
) -> tuple[str, dict[Path, Path]]:
    """Make the index of one output: its digest, and what belongs where, the documents about its images with it."""
    from builder.build.image_index import write_index

    layouts = [part.layouts[number] for part in parts]
    epoch = max(_epoch(each) for each in layouts)
    tag = json.loads((layouts[0] / "index.json").read_bytes())["manifests"][0]["annotations"]
    merged = folder / f"{number}.oci"
    digest = write_index(layouts, merged, tag[media_types.REF_NAME], epoch)
    finished = merged
    if output.type == "oci-archive":
        finished = folder / f"{number}.tar"
        with finished.open("wb") as out:
            write_oci_archive(merged, out, epoch=epoch)
    coming = {target: finished, **_documents(finished, target)}
    for part in parts:
        coming |= _documents(part.layouts[number], target.with_name(f"{target.name}.{part.arch}"))
    return digest, coming


def _documents(built: Path, target: Path) -> dict[Path, Path]:
    """The documents beside an output, by where they are to lie."""
    files = (path for path in documents.paths(built) if path.is_file())
    return {target.with_name(target.name + path.name.removeprefix(built.name)): path for path in files}


def _settle(coming: Mapping[Path, Path], outputs: Sequence[Path], *, replace: bool) -> None:
    """Put all into their places, and remember it; BuildError, and nothing there, where one would replace another's."""
    kept = destination.memory()
    if not replace:
        destination.refuse_others([path for path in coming if path not in outputs], kept)
    kept.announce(coming)
    with ExitStack() as held:
        near = {path: _beside(new, path, held) for path, new in coming.items()}
        for path, new in near.items():
            destination.swap(new, path)
    kept.remember_all(coming, {})


def _beside(new: Path, path: Path, held: ExitStack) -> Path:
    """What is to appear at ``path``, on the same disk: ``new`` itself, or a copy in a partial folder while held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if new.parent.stat().st_dev == path.parent.stat().st_dev:
        return new
    copy = held.enter_context(destination.partial(path)) / new.name
    if new.is_dir():
        shutil.copytree(new, copy, symlinks=True)
    else:
        shutil.copy2(new, copy)
    return copy


def _epoch(folder: Path) -> int:
    """The date of a layout's image in seconds."""
    return int(datetime.fromisoformat(oci_layout.read_image(folder).config["created"]).timestamp())
