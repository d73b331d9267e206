"""Images files of both forms as images: dib-ctr's own, a map, and diskimage-builder's, a list.

:func:`checked` refuses what can be refused before any work, at its place in the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.errors import BuildError, UsageError
from builder.fleet.image import ImageBuild, PlannedBuild
from builder.frontends.images_file.image import images_of
from builder.frontends.images_file.read import is_list, read
from builder.request.option_values import check_folders, with_elements

if TYPE_CHECKING:
    from builder.request.options import BuildOptions
    from builder.request.prepared_build import PreparedBuild


def load(files: Sequence[Path], destination: Path, elements_path: str = "") -> list[ImageBuild]:
    """The images of all files; UsageError for what is wrong with the files themselves."""
    lists = [file for file in files if is_list(file)]
    images = dib_images(lists) if lists else []
    for file in files:
        if file not in lists:
            images += images_of(read(file), destination, elements_path)
    names: dict[str, ImageBuild] = {}
    for image in images:
        if image.name in names:
            what = f"two images have the name {image.name!r}, the other is at {names[image.name].where}"
            raise UsageError(what, where=image.where, hint="give each a name of its own")
        names[image.name] = image
    return images


def dib_images(files: Sequence[Path]) -> list[ImageBuild]:
    """The images of diskimage-builder's files, each a command line of disk-image-create."""
    from builder.frontends.dib import image_lists as images

    return [
        ImageBuild(
            name=entry.name,
            key=entry.name,
            where=entry.where,
            command=entry.command,
            words=entry.arguments,
            dib_arch=entry.arch,
            environment=entry.environment,
        )
        for entry in images.read(files)
    ]


def shown_command(image: ImageBuild) -> str:
    """The command line of an image of diskimage-builder's form as a person would type it."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in sorted(image.environment.items())]
    return " ".join([*settings, image.command, shlex.join(image.words)]).strip()


def checked(images: Sequence[ImageBuild], environment: Mapping[str, str]) -> list[PlannedBuild]:
    """Check every image as its build would in the caller's ``environment``.

    UsageError, at its place in the file, for the first that cannot be.
    """
    planned = [_located(image, environment) for image in images]
    _check_targets(planned)
    return planned


def _located(image: ImageBuild, environment: Mapping[str, str]) -> PlannedBuild:
    try:
        return _planned(image, environment)
    except BuildError as error:
        quoted = next((position for text, position in image.places.items() if text and repr(text) in error.what), "")
        where = quoted or image.where
        beside = f" ({error.where})" if error.where and error.where != where else ""
        raise UsageError(f"the image {image.name}: {error.what}{beside}", where=where, hint=error.hint) from error


def _planned(image: ImageBuild, environment: Mapping[str, str]) -> PlannedBuild:
    options, environment = asked_of(image, environment)
    _check_push(image)
    return PlannedBuild(image, _requests(options, environment))


def _check_push(image: ImageBuild) -> None:
    if not image.push:
        return
    from builder.registry.push import parse_reference

    parse_reference(image.push)
    if not is_pushable(image):
        what = f"{image.push!r} takes the output oci, which is not among those asked for"
        raise UsageError(what, hint="outputs: [oci]")


def is_pushable(image: ImageBuild) -> bool:
    """Has the image an output that a registry takes."""
    outputs = image.options.outputs
    return not outputs or any(output.partition(",")[0] == "oci" for output in outputs)


def asked_of(image: ImageBuild, environment: Mapping[str, str]) -> tuple[BuildOptions, dict[str, str]]:
    """What ``dib-ctr build`` is asked for an image, and in which environment."""
    environment = {**environment, **image.environment}
    if image.command == "build":
        return image.options, environment
    from builder.frontends.dib.arguments import parse
    from builder.frontends.dib.translate import translate
    from builder.host_state.probe_results import cache_folder
    from qemu.architecture import native

    asked = parse(image.command, image.words)
    ramdisk = image.command == "ramdisk-image-create"
    scratch = cache_folder() / "planned"
    translation = translate(asked, image.words, environment, native(), scratch, ramdisk=ramdisk)
    return translation.options, {**environment, **translation.variables}


def _requests(options: BuildOptions, environment: Mapping[str, str]) -> tuple[PreparedBuild, ...]:
    """The requests of these options, as ``dib-ctr build`` would check them."""
    from builder.build import multi_arch
    from builder.remote_cache.spec import parse_all
    from builder.request.prepare import prepare

    check_folders(options)
    parse_all(options.cache_from, writing=False)
    parse_all(options.cache_to, writing=True)
    options = replace(
        with_elements(options, environment),
        outputs=options.outputs or ("oci",),
        no_documents=False,  # a plan writes none, and stops nowhere
        breaks=(),
        break_command="",
        break_outside=False,
    )
    arches = options.arch.split(",")
    if len(arches) == 1:
        return (prepare("plan", options, environment),)
    multi_arch.check(options, arches, environment)
    return tuple(prepare("plan", replace(options, arch=arch), environment) for arch in arches)


def _check_targets(builds: Sequence[PlannedBuild]) -> None:
    """No two images may write to one place."""
    targets: dict[Path, ImageBuild] = {}
    for planned in builds:
        for target in planned.prepared.targets:
            for other, image in targets.items():
                if target == other or target in other.parents or other in target.parents:
                    what = f"the images {image.name} and {planned.image.name} would both be written to {target}"
                    raise UsageError(what, where=planned.image.where, hint="give each a dest or a name of its own")
            targets[target] = planned.image
