"""Elements: found on the elements path, then resolved into the set that makes one image.

The directory format is diskimage-builder's: ``element-deps`` and ``element-provides`` hold one name a line; every phase
directory holds scripts. The elements path is searched first to last and the first element of a name wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest

BUILTIN = Path(__file__).parents[1] / "elements"
OPERATING_SYSTEM = "operating-system"


@dataclass(frozen=True)
class Element:
    """One element: its name, its folder, what it needs and what it stands for.

    ``shadows`` are folders of the same name later on the elements path, which are not used. ``build_image`` is the
    build image that it wants (the file ``build-image``: one name), if any. ``within`` are the folders of the elements
    path, links followed: where the links in an element may lead (``stages.element.files``).
    """

    name: str
    path: Path
    deps: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    shadows: tuple[Path, ...] = ()
    build_image: str = ""
    within: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Resolution:
    """The elements of one image, sorted by name, and which of them is the operating system."""

    elements: tuple[Element, ...]
    operating_system: Element

    @property
    def names(self) -> tuple[str, ...]:
        """The elements' names, sorted."""
        return tuple(element.name for element in self.elements)

    @property
    def build_image(self) -> str:
        """The build image that the elements want ("": any); raises UsageError where they want different ones."""
        wanted = {element.build_image: element for element in self.elements if element.build_image}
        if len(wanted) > 1:
            told = " and ".join(f"{element.name} ({image})" for image, element in sorted(wanted.items()))
            raise UsageError(f"these elements want different build images: {told}", hint="leave one of them out")
        return next(iter(wanted), "")


def _names(file: Path) -> tuple[str, ...]:
    """The non-blank lines of ``element-deps`` or ``element-provides``, each refused where it cannot be a name."""
    if not file.is_file():
        return ()
    names = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        name = line.strip()
        if not name:
            continue
        if any(character in name for character in "#/ \t"):
            raise UsageError(
                f"{name!r} is not an element's name",
                where=f"{file}:{number}",
                hint="write one name a line; this file has no comments",
            )
        names.append(name)
    return tuple(names)


def read_element(folder: Path) -> Element:
    """Read one element's folder; a symbolic link counts under the name of what it points to."""
    real = folder.resolve()
    image = _names(real / "build-image")
    if len(image) > 1:
        raise UsageError("an element has one build image at most", where=f"{real / 'build-image'}:2")
    deps, provides = _names(real / "element-deps"), _names(real / "element-provides")
    return Element(real.name, real, deps, provides, build_image=next(iter(image), ""))


def find_elements(paths: Sequence[Path], read: Callable[[Path], Element] = read_element) -> dict[str, Element]:
    """All elements on the path, by name; raises UsageError where an entry of the path is not a folder.

    ``read`` makes an element of its folder; it gets the folder as it is on the path, links not yet followed.
    """
    found: dict[str, Element] = {}
    within = tuple(path.resolve() for path in paths)
    for path in paths:
        if not path.is_dir():
            raise UsageError(
                f"the elements path names {path}, which is not a folder",
                hint="correct --elements-path or ELEMENTS_PATH",
            )
        for folder in sorted(path.iterdir()):
            if folder.name.startswith((".", "__")) or not folder.is_dir():
                continue
            element = dataclasses.replace(read(folder), within=within)
            first = found.get(element.name)
            if first is None:
                found[element.name] = element
            elif first.path != element.path and element.path not in first.shadows:
                found[element.name] = dataclasses.replace(first, shadows=(*first.shadows, element.path))
    return found


def _unknown(name: str, needed_by: str, universe: Mapping[str, Element]) -> UsageError:
    where = str(universe[needed_by].path / "element-deps") if needed_by else ""
    if name in {virtual for element in universe.values() for virtual in element.provides}:
        providers = sorted(element.name for element in universe.values() if name in element.provides)
        return UsageError(
            f"nothing in this build provides {name!r}", where=where, hint=f"add one of: {', '.join(providers)}"
        )
    for folder in sorted({element.path.parent for element in universe.values()}):
        if (folder / name).is_file():
            return UsageError(
                f"{name!r} is a file, not an element's folder", where=str(folder / name), hint="an element is a folder"
            )
    hint = nearest(name, universe) or "`dib-ctr elements` lists all there are"
    return UsageError(f"there is no element {name!r}", where=where, hint=hint)


def _check_one_operating_system(chosen: Mapping[str, Element], universe: Mapping[str, Element]) -> Element:
    systems = sorted(name for name, element in chosen.items() if OPERATING_SYSTEM in element.provides)
    if len(systems) > 1:
        raise UsageError(f"two operating systems in one image: {' and '.join(systems)}", hint="name just one of them")
    if not systems:
        known = sorted(name for name, element in universe.items() if OPERATING_SYSTEM in element.provides)
        raise UsageError("no element here is an operating system", hint=f"add one of: {', '.join(known)}")
    return chosen[systems[0]]


def resolve(asked: Sequence[str], universe: Mapping[str, Element]) -> Resolution:
    """The asked elements and all they need, without what others provide (contract: DIB element-info).

    Raises UsageError for an unknown element, a name provided twice, an asked element that another one provides, and
    anything but exactly one operating system.
    """
    chosen: dict[str, Element] = {}
    queue: list[tuple[str, str]] = [(name, "") for name in dict.fromkeys(asked)]
    # Providers among all that will be reached are known first, so that the order of dependencies cannot matter.
    reached: dict[str, Element] = {}
    pending = [name for name, _ in queue]
    while pending:
        name = pending.pop()
        element = universe.get(name)
        if element is None or name in reached:
            continue
        reached[name] = element
        pending.extend(element.deps)
    provided: dict[str, str] = {}
    for name in sorted(reached):
        for virtual in reached[name].provides:
            provided.setdefault(virtual, name)
    while queue:
        name, needed_by = queue.pop(0)
        if name in chosen:
            continue
        provider = provided.get(name)
        if provider is not None and provider != name:
            if not needed_by:
                raise UsageError(f"{name!r} was asked for, but {provider!r} stands in for it", hint="leave one out")
            continue
        if name not in universe:
            raise _unknown(name, needed_by, universe)
        chosen[name] = universe[name]
        queue.extend((dep, name) for dep in universe[name].deps)
    system = _check_one_operating_system(chosen, universe)
    taken: dict[str, str] = {}
    for name in sorted(chosen):
        for virtual in chosen[name].provides:
            if virtual in taken:
                raise UsageError(f"{virtual!r} is provided by both {taken[virtual]} and {name}", hint="leave one out")
            taken[virtual] = name
    return Resolution(tuple(chosen[name] for name in sorted(chosen)), system)
