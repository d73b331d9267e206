"""Built-in elements that stand in for given ones whose scripts need a device, or a container engine.

The elements path decides which element is used, with two exceptions. A boot loader's element that writes to a loop
device cannot do so in a build without privileges: the built-in one of its name gives the same machine from the tree
alone; ``--privileged`` has the given one run. And a ``containerfile`` that calls podman or docker finds neither in a
build container: for the built-in one the engine of the machine builds. The user is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.element.hooks import PHASES, merge, scripts
from stages.element.resolve import BUILTIN, Element, read_element

STAND_INS = ("bootloader",)
CONTAINERFILE = "containerfile"


def stand_ins(chosen: Sequence[Element]) -> dict[str, str]:
    """The elements that a built-in one stands in for, by name, each with the sentence that says why."""
    sentences = {}
    for element in chosen:
        if element.name not in STAND_INS or element.path.is_relative_to(BUILTIN):
            continue
        from blockdev.privileged.reasons import (
            of_scripts,  # only now: few builds need it, and it takes its time to load
        )

        merged = merge([(element.name, element.path)])
        texts = {
            f"{phase.name}/{element.name}/{script.path.rpartition('/')[2]}": script.text
            for phase in PHASES
            for script in scripts(merged, phase)
        }
        if why := tuple(of_scripts(texts)):
            sentences[element.name] = (
                f"{why[0]}, which a build without privileges does not have: the built-in {element.name} stands in for "
                f"{element.path} (--privileged runs that one on a disk)"
            )
    return sentences


def for_engines(chosen: Sequence[Element]) -> dict[str, str]:
    """The same for elements that want a container engine inside the build."""
    return {
        element.name: (
            f"no container engine is in a build container: the built-in {element.name} stands in for {element.path}"
        )
        for element in chosen
        if element.name == CONTAINERFILE and not element.path.is_relative_to(BUILTIN)
    }


def with_stand_ins(universe: Mapping[str, Element], names: Mapping[str, str]) -> dict[str, Element]:
    """All elements, the built-in ones in the place of those named."""
    return {**universe, **{name: read_element(BUILTIN / name) for name in names}}
