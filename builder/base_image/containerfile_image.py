"""The image that a Containerfile gives, made again only when the file, its context or an image of it changed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError, UsageError
from builder.base_image import engine_build, pull, reference
from builder.base_image.containerfile import StageImage
from builder.base_image.fetch import Base, images_folder, keep, kept, recalled, remember
from builder.base_image.recipe import KIND, Recipe, platform_of
from builder.base_image.reference import Remote
from builder.inspection.image import open_image
from builder.registry.client import Registry, is_loopback

Note = Callable[[str], None]
OWN_IMAGES = "localhost"  # what engines put before the names of images that are nowhere else
ONLINE = "build once without --offline"


@dataclass(frozen=True)
class Taken:
    """An image of the Containerfile: where it is, for which architecture, and its manifest (offline: no text)."""

    place: Remote
    arch: str
    digest: str
    manifest: bytes = b""

    @property
    def pinned(self) -> str:
        """The name with which the very same image is found again."""
        return f"{self.place.host}/{self.place.name}@{self.digest}"


def find(recipe: Recipe, arch: str, *, offline: bool, on_note: Note) -> Base:
    """The image of a recipe for an architecture (Debian's name), built where that has to be.

    Raises UsageError for an image of it that there is not, BuildError where one cannot be fetched or the build fails.
    """
    folder = images_folder()
    folder.mkdir(parents=True, exist_ok=True)
    taken = {image: _take(folder, recipe, image, arch, offline=offline) for image in recipe.content.images}
    key = recipe.key({image: each.digest for image, each in taken.items()}, arch)
    text = f"{KIND}{recipe.file}"
    memory = folder / f"built-{key[:32]}"
    if memory.exists() and (built := kept(folder, text, memory.read_text(encoding="utf-8"), arch)):
        return built
    if offline:
        raise BuildError(
            "this Containerfile was never built as it is now", where=text, hint="build once without --offline"
        )
    on_note(f"building {recipe.file} with {recipe.runtime}")
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
        archive = Path(scratch) / "image.tar"
        texts = {
            "podman": recipe.content.pinned({image: engine_build.local(each.digest) for image, each in taken.items()}),
            "docker": recipe.content.pinned({image: each.pinned for image, each in taken.items()}),
        }

        def fetch(start: str, layout: Path) -> None:
            each = next(each for each in taken.values() if each.digest.removeprefix("sha256:").startswith(start))
            on_note(f"fetching {each.place}")
            pull.fetch(_registry(each.place), each.place, each.manifest, layout, on_note)

        engine_build.build(recipe, texts, arch, _epoch(taken), fetch, archive)
        image = open_image(archive, arch)
        base = kept(folder, text, image.digest, arch) or keep(folder, text, image, arch)
        (Path(scratch) / "memory").write_text(image.digest, encoding="utf-8")
        (Path(scratch) / "memory").rename(memory)
    return base


def _registry(image: Remote) -> Registry:
    return Registry(image.host, insecure=is_loopback(image.host))


def _take(folder: Path, recipe: Recipe, image: StageImage, arch: str, *, offline: bool) -> Taken:
    remote = reference.parse(image.name)
    if not isinstance(remote, Remote) or remote.host == OWN_IMAGES:
        raise UsageError(
            f"{image.name} is in no registry, and images of a Containerfile come from one",
            where=str(recipe.file),
            hint="push it to a registry (one on this machine will do), or begin with it: --from",
        )
    platform = platform_of(image, arch)
    if offline:
        digest = recalled(folder, remote, platform)
        if not digest:
            raise BuildError(
                f"{remote} was never asked for", where=str(recipe.file), hint="build once without --offline"
            )
        return Taken(remote, platform, digest)
    digest, manifest = pull.resolve(_registry(remote), remote, platform)
    remember(folder, remote, platform, digest)
    return Taken(remote, platform, digest, manifest)


def _epoch(taken: Mapping[StageImage, Taken]) -> int:
    """The time of what podman writes: that of the newest image it builds on, so that the same gives the same."""
    times = [pull.created(_registry(each.place), each.place, each.manifest) for each in taken.values()]
    return max(times, default=0)
