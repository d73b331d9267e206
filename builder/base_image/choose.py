"""What a build begins with, where that is an image: the one that --from names, or the one that its elements bring.

The element ``containerfile`` takes diskimage-builder's variables, and a Containerfile that some element has in
``containerfiles`` under the release's name. Besides an element may name an image in its file ``container-image``: lines
of a pattern for the release and the image's name, the first that fits is taken. In the name ``{release}`` is the
release, ``{number}`` the number in it; one that begins with ``REGISTRY/`` is in no registry that everybody has. With
``containerfiles/default`` in the element the image is what that one builds on (its argument IMAGE).
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blockdev.core.errors import UsageError
from builder.base_image import containerfile_image, fetch, recipe, reference
from builder.base_image.fetch import Base
from builder.base_image.recipe import BUILD_OPTIONS, CONTEXT, KIND, NETWORK, RUNTIME
from stages.element.environment_defaults import declared
from stages.element.resolve import Element

DOCKERFILE = "DIB_CONTAINERFILE_DOCKERFILE"
IMAGE, REGISTRY, RELEASE = "DIB_CONTAINER_IMAGE", "DIB_CONTAINER_REGISTRY", "DIB_RELEASE"
SETTINGS = (DOCKERFILE, IMAGE, REGISTRY, RELEASE, BUILD_OPTIONS, CONTEXT, NETWORK, RUNTIME)
FOLDER, DEFAULT, FILE = "containerfiles", "default", "container-image"
NOWHERE = "REGISTRY/"
HARMLESS = ("--build-arg", "--from", "--target", "--label", "--platform")  # build options that an element may set

Note = Callable[[str], None]


def begin(text: str, arch: str, variables: Mapping[str, str], *, offline: bool, on_note: Note) -> Base:
    """The image that a text names as ``--from`` does, for an architecture (Debian's name).

    Raises UsageError where there is none, BuildError where it cannot be fetched or built, or is damaged.
    """
    if text.startswith(KIND):
        own_recipe = recipe.read(Path(text.removeprefix(KIND)), variables)
        return containerfile_image.find(own_recipe, arch, offline=offline, on_note=on_note)
    return fetch.find(text, arch, offline=offline, on_note=on_note)


def of_elements(elements: Sequence[Element], variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """What the elements want the build to begin with, as ``--from`` names it, and the settings that this hangs on.

    Raises UsageError where they want nothing.
    """
    settings = declared(elements, variables, SETTINGS)
    _check_own(elements, {name: value for name, value in settings.items() if value and variables.get(name) != value})
    release = settings.get(RELEASE, "")
    if settings.get(DOCKERFILE):
        return KIND + settings[DOCKERFILE], settings
    if settings.get(IMAGE):
        return settings[IMAGE], settings
    for element in elements:
        file = element.path / FOLDER / release
        if release and file.is_file():
            return f"{KIND}{file}", settings
    for element in elements:
        if (element.path / FILE).is_file():
            image = image_of((element.path / FILE).read_text(encoding="utf-8"), release, settings.get(REGISTRY, ""))
            _check_own(elements, {IMAGE: image})
            file = element.path / FOLDER / DEFAULT
            if not file.is_file():
                return image, settings
            options = f"--build-arg=IMAGE={shlex.quote(image)} {settings.get(BUILD_OPTIONS, '')}"
            return f"{KIND}{file}", {**settings, BUILD_OPTIONS: options}
    raise UsageError(
        f"no element has an image or a Containerfile{f' of {release}' if release else ''} to begin with",
        where="containerfile",
        hint=f"--from IMAGE, or set {DOCKERFILE} to the path of a Containerfile",
    )


def _check_own(elements: Sequence[Element], settings: Mapping[str, str]) -> None:
    """Raise UsageError where an element, and not the user, wants something of the user's machine.

    What is built or unpacked comes into the tree, so an element may name what lies in an elements path, and no more.
    """
    for name in (DOCKERFILE, CONTEXT):
        roots = [root for element in elements for root in (element.path.resolve(), *element.within)]
        if name in settings and not any(Path(settings[name]).resolve().is_relative_to(root) for root in roots):
            raise _not_the_elements(name, settings[name])
    if IMAGE in settings and isinstance(reference.parse(settings[IMAGE]), Path):
        raise _not_the_elements(IMAGE, settings[IMAGE])
    try:
        words = shlex.split(settings.get(BUILD_OPTIONS, ""))
    except ValueError:
        return  # said where it is read
    for number, word in enumerate(words):
        if word.partition("=")[0] not in HARMLESS and (number == 0 or words[number - 1] not in HARMLESS):
            raise _not_the_elements(BUILD_OPTIONS, word)


def _not_the_elements(name: str, value: str) -> UsageError:
    return UsageError(
        f"an element sets {name} to {value}, which could take files of this machine that are not the element's",
        where="containerfile",
        hint=f"if that is what you want, say it yourself: --set {name}=...",
    )


def image_of(text: str, release: str, registry: str) -> str:
    """The image of a release, as a file ``container-image`` has it; raises UsageError where it has none."""
    pairs = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for pattern, name in pairs:
        if not fnmatch.fnmatchcase(release, pattern):
            continue
        number = re.search(r"\d+(\.\d+)*", release)
        image = name.replace("{release}", release).replace("{number}", number[0] if number else release)
        if image.startswith(NOWHERE) and not registry:
            hint = f"--set {REGISTRY}=HOST, or --set {IMAGE}=HOST/NAME:TAG"
            raise UsageError(f"{image.removeprefix(NOWHERE)} is in a registry of its own", where=REGISTRY, hint=hint)
        image = image.removeprefix(NOWHERE)
        return f"{registry.rstrip('/')}/{image}" if registry else image
    releases = ", ".join(pattern for pattern, _ in pairs)
    raise UsageError(f"no image of the release {release!r} is known", where=RELEASE, hint=f"there is: {releases}")
