"""A Containerfile that a build begins with: what it is made of, by whom, and when it must be made again.

Its variables are diskimage-builder's (element ``containerfile``).
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError, UsageError
from builder.base_image import build_context as context
from builder.base_image import containerfile
from builder.base_image.build_context import Context
from builder.base_image.containerfile import BUILD_PLATFORM, Containerfile, StageImage
from builder.base_image.fetch import CONTAINERFILES
from qemu.architecture import canonical, native

FORMAT = "1"  # of what is made: another one makes all anew
KIND = "containerfile:"
PODMAN, DOCKER = "podman", "docker"
BUILD_OPTIONS, NETWORK = "DIB_CONTAINERFILE_BUILDOPTS", "DIB_CONTAINERFILE_NETWORK_DRIVER"
RUNTIME, CONTEXT = "DIB_CONTAINERFILE_RUNTIME", "DIB_CONTAINER_CONTEXT"


@dataclass(frozen=True)
class Recipe:
    """A Containerfile, read: the ``file``, what is in it, its context, the ``options`` of the build, and its network.

    ``runtime`` is the program that builds it.
    """

    file: Path
    content: Containerfile
    context: Context
    options: tuple[str, ...]
    network: str
    runtime: str

    def key(self, digests: Mapping[StageImage, str], arch: str) -> str:
        """What the result hangs on, its images being those of these digests."""
        parts = {
            "format": FORMAT,
            "text": self.content.text,
            "images": [[image.name, image.platform, digests[image]] for image in self.content.images],
            "context": self.context.digest,
            "options": self.options,
            "network": self.network,
            "runtime": self.runtime,
            "arch": arch,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def file_of(path: Path) -> Path:
    """The Containerfile that a path names: itself, or the one in that folder; raises UsageError."""
    file = next((path / name for name in CONTAINERFILES if (path / name).is_file()), path)
    if not file.is_file():
        what = f"there is no {' and no '.join(CONTAINERFILES)} in {path}" if path.is_dir() else f"there is no {path}"
        raise UsageError(what, where=f"{KIND}{path}", hint="name a Containerfile, or a folder that has one")
    return file


def read(path: Path, variables: Mapping[str, str]) -> Recipe:
    """The recipe of a Containerfile (or of the folder that it lies in), as the build's variables want it built.

    Raises UsageError for what it cannot be, BuildError where nobody here could build it.
    """
    file = file_of(path)
    try:
        options, arguments, base = _options(shlex.split(variables.get(BUILD_OPTIONS, "")))
    except ValueError as error:
        raise UsageError(f"{BUILD_OPTIONS} is no command line: {error}", hint="quote as in a shell") from error
    root = Path(variables.get(CONTEXT) or file.parent)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", where=CONTEXT, hint="name the folder that COPY takes from")
    try:
        content = containerfile.read(file.read_text(encoding="utf-8"), arguments, base)
        files = context.read(root, content.sources, file)
    except UsageError as error:
        error.where = error.where or str(file)
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the Containerfile or its folder cannot be read: {error}", where=str(file)) from error
    network = variables.get(NETWORK) or "host"
    return Recipe(file, content, files, options, network, _runtime(variables.get(RUNTIME, "")))


def platform_of(image: StageImage, arch: str) -> str:
    """The architecture (Debian's name) that an image of the Containerfile is wanted for."""
    if not image.platform or image.platform.endswith(("TARGETPLATFORM", "TARGETPLATFORM}")):
        return arch
    if BUILD_PLATFORM in image.platform:
        return native()
    word = image.platform.removeprefix("linux/").partition("/")[0]
    name = {"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}.get(word) or canonical(word)
    if name is None:
        raise UsageError(
            f"{image.platform!r} is no platform of Linux", where=image.name, hint="linux/amd64, linux/arm64 ..."
        )
    return name


def _options(words: list[str]) -> tuple[tuple[str, ...], dict[str, str], str]:
    """The options as they go on to the build, the build's arguments among them, and the image that --from names."""
    kept: list[str] = []
    arguments: dict[str, str] = {}
    base = ""
    at = 0
    while at < len(words):
        name, separator, value = words[at].partition("=")
        if name in ("--from", "--build-arg") and not separator and at + 1 < len(words):
            at += 1
            value = words[at]
        at += 1
        if name == "--from":
            base = value
            continue
        if name == "--build-arg":
            argument, _, text = value.partition("=")
            arguments[argument] = text
            kept.append(f"--build-arg={value}")
        else:
            kept.append(words[at - 1])
    return tuple(kept), arguments, base


def _runtime(asked: str) -> str:
    if asked not in ("", PODMAN, DOCKER):
        raise UsageError(f"{asked!r} builds no Containerfiles here", where=RUNTIME, hint=f"{PODMAN} or {DOCKER}")
    program = next((name for name in (asked or PODMAN, DOCKER) if shutil.which(name)), None)
    if program is None or (asked and program != asked):
        raise BuildError(
            f"a Containerfile is built by {asked or f'{PODMAN} or {DOCKER}'}, which is not there",
            where="containerfile",
            hint=f"sudo apt-get install {asked.replace(DOCKER, 'docker.io') or PODMAN} (no other part needs it)",
        )
    return program
