"""Putting an image that a build has made among the images of its engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import destination
from builder.host_state.probe_results import cache_folder
from stages.protocol.request import Request

if TYPE_CHECKING:
    from builder.build.client import BuildContainer


def loaded_name(request: Request) -> str:
    """The image's name in the engine: the tag of an output, or the request's name."""
    tag = next((output.options["tag"] for output in request.outputs if "tag" in output.options), "latest")
    return tag if "/" in tag or ":" in tag else f"localhost/{request.name.lower()}:{tag}"


def load_image(container: BuildContainer, path: str, request: Request) -> str:
    """Load the docker-archive that the store has at ``path``; what to tell the user of it."""
    name = loaded_name(request)
    with destination.partial(load_folder() / "load") as folder:
        destination.place_output(container.fetch(path), "docker-archive", folder / "image.tar")
        container.engine.load(folder / "image.tar", name)
    return f"{name} (images of {container.engine.name})"


def load_folder() -> Path:
    """Where archives lie on their way to an engine."""
    folder = cache_folder() / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
