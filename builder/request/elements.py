"""The elements of a request: found, resolved, with those that a disk needs and those that stand in."""

from __future__ import annotations
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from blockdev.core.errors import UsageError
from builder.destination import check_targets, is_files, side_folder_of, target_of
from builder.request.choices import parse_arch
from builder.request.host_files import file_digest, given_files
from builder.request.options import NAME, BuildOptions, LockOptions
from builder.request.outputs import is_for_disk, parse_output, policies
from builder.request.redact import check_names, redaction_of, secrets_of
from builder.request.releases import check as releases
from builder.request.releases.support import ended
from builder.request.substitutes import CONTAINERFILE, for_engines, stand_ins, with_stand_ins
from builder.request.variables import mirrors, variables
from stages.element.files import check_links
from stages.element.resolve import BUILTIN, Element, Resolution, find_elements, resolve
from stages.plan.breakpoints import WANTED, is_point
from stages.protocol.request import DISK_TYPES, Output, Request
from stages.redaction.redaction import Redaction
if TYPE_CHECKING:
    from builder.base_image.fetch import Base
    from builder.request.disk import Disk


NO_FINAL_IMAGE = "no-final-image"  # in the name of an element: it makes the image's files itself


def image_config(elements: Iterable[Element]) -> dict[str, Any]:
    """What the elements say of the image, merged; UsageError naming file and line."""
    folders = [element.path for element in elements if (element.path / "image-config.yaml").is_file()]
    if not folders:
        return {}
    from stages.element import image_config as imageconfig

    return imageconfig.read(folders)


def elements_path(given: str, environment: Mapping[str, str]) -> list[Path]:
    """The folders that are searched for elements: the option, else ``ELEMENTS_PATH``; the built-in ones come last."""
    text = given or environment.get("ELEMENTS_PATH", "")
    return [*(Path(entry) for entry in text.split(":") if entry), BUILTIN]


def resolve_elements(
    wish: BuildOptions, environment: Mapping[str, str], outputs: Sequence[Output] = ()
) -> tuple[Resolution, list[Output], tuple[str, ...]]:
    """Find and resolve the wished elements, and those that a bootable disk among the outputs needs.

    Returns the outputs too, without disk images where an element wants none (diskimage-builder knows it by its name),
    and a sentence on that and on each given element that a built-in one stands in for.
    """
    universe = find_elements(elements_path(wish.elements_path, environment))
    found = resolve(wish.elements, universe)
    check_links(found.elements)
    asked = list(wish.elements)
    without = next((name for name in found.names if NO_FINAL_IMAGE in name), "") if is_for_disk(outputs) else ""
    kept = [output for output in outputs if not without or output.type not in DISK_TYPES]
    notes: tuple[str, ...] = (f"the element {without} leaves disk images out: none is written",) if without else ()
    if is_for_disk(kept):
        from builder.request.disk import added_elements

        more = added_elements(found.names, found.elements, kept, parse_arch(wish.arch))
        asked += more
        if more:
            found = resolve(asked, universe)
            check_links(found.elements)
    instead = for_engines(found.elements)
    if not wish.disk.get("privileged"):
        instead |= stand_ins(found.elements)
    if instead:
        found = resolve(asked, with_stand_ins(universe, instead))
        check_links(found.elements)
    return found, kept, (*notes, *instead.values())
