"""The elements of a request: found, resolved, with those that a disk needs and those that stand in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.request.choices import parse_arch
from builder.request.options import BuildOptions
from builder.request.outputs import is_for_disk
from builder.request.substitutes import for_engines, stand_ins, with_stand_ins
from stages.element.files import check_links
from stages.element.resolve import BUILTIN, Element, Resolution, find_elements, resolve
from stages.protocol.request import DISK_TYPES, Output

NO_FINAL_IMAGE = "no-final-image"  # in the name of an element: it makes the image's files itself


def image_config(elements: Iterable[Element]) -> dict[str, Any]:
    """What the elements say of the image, merged; UsageError naming file and line."""
    folders = [element.path for element in elements if (element.path / "image-config.yaml").is_file()]
    if not folders:
        return {}
    from stages.element import image_config as imageconfig

    return imageconfig.read(folders)


def elements_path(option: str, environment: Mapping[str, str]) -> list[Path]:
    """The folders that are searched for elements: the option, else ``ELEMENTS_PATH``; the built-in ones come last."""
    text = option or environment.get("ELEMENTS_PATH", "")
    return [*(Path(entry) for entry in text.split(":") if entry), BUILTIN]


def resolve_elements(
    options: BuildOptions, environment: Mapping[str, str], outputs: Sequence[Output] = ()
) -> tuple[Resolution, list[Output], tuple[str, ...]]:
    """Find and resolve the elements that are asked for, and those that a bootable disk among the outputs needs.

    Returns the outputs too, without disk images where an element wants none (diskimage-builder knows it by its name),
    and a sentence on that and on each given element that a built-in one stands in for.
    """
    universe = find_elements(elements_path(options.elements_path, environment))
    resolution = resolve(options.elements, universe)
    links = check_links(resolution.elements)
    asked = list(options.elements)
    without = next((name for name in resolution.names if NO_FINAL_IMAGE in name), "") if is_for_disk(outputs) else ""
    kept = [output for output in outputs if not without or output.type not in DISK_TYPES]
    notes: tuple[str, ...] = (f"the element {without} leaves disk images out: none is written",) if without else ()
    if is_for_disk(kept):
        from builder.request.disk import added_elements

        more = added_elements(resolution.names, resolution.elements, kept, parse_arch(options.arch))
        asked += more
        if more:
            resolution = resolve(asked, universe)
            links = check_links(resolution.elements)
    instead = for_engines(resolution.elements)
    if not options.disk.privileged:
        instead |= stand_ins(resolution.elements)
    if instead:
        resolution = resolve(asked, with_stand_ins(universe, instead))
        links = check_links(resolution.elements)
    return resolution, kept, (*notes, *resolution.notes, *links, *instead.values())
