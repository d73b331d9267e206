"""Elements: found on the elements path, then resolved into the set that makes one image.

The directory format is diskimage-builder's: ``element-deps`` and ``element-provides`` hold one name a line; every phase
directory holds scripts. The elements path is searched first to last and the first element of a name wins.
"""

from __future__ import annotations

import dataclasses
import stat
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
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
    path, links followed: where the links in an element may lead (``stages.element.files``). ``fault`` is what is wrong
    with these files: it stops the images that the element is in, and no other.
    """

    name: str
    path: Path
    deps: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    shadows: tuple[Path, ...] = ()
    build_image: str = ""
    within: tuple[Path, ...] = ()
    fault: UsageError | None = None


@dataclass(frozen=True)
class Resolution:
    """The elements of one image, sorted by name, and which of them is the operating system.

    ``notes`` has a sentence for each element that diskimage-builder would leave out.
    """

    elements: tuple[Element, ...]
    operating_system: Element
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The elements' names, sorted."""
        return tuple(element.name for element in self.elements)

    @property
    def build_image(self) -> str:
        """The build image that the elements want ("": any); raises UsageError where they want different ones."""
        images = {element.build_image: element for element in self.elements if element.build_image}
        if len(images) > 1:
            elements_and_images = " and ".join(f"{element.name} ({image})" for image, element in sorted(images.items()))
            raise UsageError(
                f"these elements want different build images: {elements_and_images}", hint="leave one of them out"
            )
        return next(iter(images), "")


class _Names:
    """The files of one element that hold names, a name a line; the first thing that is wrong with them is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault: UsageError | None = None

    def _refuse(self, what: str, where: str, hint: str) -> None:
        self.fault = self.fault or UsageError(what, where=where, hint=hint)

    def read(self, name: str) -> tuple[str, ...]:
        """The names in the file; none where there is no such file, and none that cannot be a name."""
        file = self.folder / name
        try:
            if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe would wait for ever
                self._refuse(f"{name} is no file", str(file), "it holds names, one a line")
                return ()
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ()
        except OSError as error:
            self._refuse(f"this file cannot be read: {error.strerror}", str(file), "it holds names, one a line")
            return ()
        names = []
        for number, line in enumerate(lines, 1):
            if is_bad_name(line.strip()):
                hint = "write one name a line; this file has no comments"
                self._refuse(f"{line.strip()!r} is not an element's name", f"{file}:{number}", hint)
            elif line.strip():
                names.append(line.strip())
        return tuple(names)

    def read_one(self, name: str) -> str:
        """The only name in the file, or ""."""
        names = self.read(name)
        if len(names) > 1:
            self._refuse("an element has one build image at most", f"{self.folder / name}:2", "leave one out")
        return next(iter(names), "")


def is_bad_name(name: str) -> bool:
    """Can this be no element's name?"""
    return any(character in name for character in "#/ \t")


def read_element(folder: Path) -> Element:
    """Read one element's folder; a symbolic link counts under the name of what it points to."""
    real = folder.resolve()
    names = _Names(real)
    deps, provides, image = names.read("element-deps"), names.read("element-provides"), names.read_one("build-image")
    return Element(real.name, real, deps, provides, build_image=image, fault=names.fault)


def find_elements(paths: Sequence[Path]) -> dict[str, Element]:
    """All elements on the path, by name; raises UsageError where an entry of the path is not a folder."""
    elements: dict[str, Element] = {}
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
            element = dataclasses.replace(read_element(folder), within=within)
            first = elements.get(element.name)
            if first is None:
                elements[element.name] = element
            elif first.path != element.path and element.path not in first.shadows:
                elements[element.name] = dataclasses.replace(first, shadows=(*first.shadows, element.path))
    return elements


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
    hint = nearest(name, universe.keys() - {needed_by}) or "`dib-ctr elements` lists all there are"
    return UsageError(f"there is no element {name!r}", where=where, hint=hint)


def _check_one_operating_system(chosen: Mapping[str, Element], universe: Mapping[str, Element]) -> Element:
    systems = sorted(name for name, element in chosen.items() if OPERATING_SYSTEM in element.provides)
    if len(systems) > 1:
        raise UsageError(f"two operating systems in one image: {' and '.join(systems)}", hint="name just one of them")
    if not systems:
        offered = sorted(name for name, element in universe.items() if OPERATING_SYSTEM in element.provides)
        raise UsageError("no element here is an operating system", hint=f"add one of: {', '.join(offered)}")
    return chosen[systems[0]]


@dataclass(frozen=True)
class Expansion:
    """Elements and what they need: ``kept`` are in the image, in the order in which they were found.

    ``missing`` are names that nothing has, each with the element that needs it ("": the user asked for it).
    ``left_out`` are those in ``kept`` that diskimage-builder would leave out, each with the element that provides it.
    """

    kept: Mapping[str, Element]
    missing: Mapping[str, str]
    left_out: Mapping[str, str]


def expand(asked: Iterable[str], universe: Mapping[str, Element]) -> Expansion:
    """The asked elements and all they need, as diskimage-builder finds them: breadth first.

    A name that an element before it provides is not looked at, so what it needs does not come along. An element that
    was looked at, and that a later one provides, is not in the image, while what it needs is. What diskimage-builder
    gets wrong is that such an element goes on providing: what it stands for would be missing with it. Here only those
    in the image provide, and what nobody provides any more is taken itself. Of what one element needs, which
    diskimage-builder takes in the order of a hash, those that another one of them provides come last.
    """
    needed_by = dict.fromkeys(asked, "")
    queue = deque(needed_by)
    seen: dict[str, Element] = {}
    provided: set[str] = set()
    upstream: dict[str, str] | None = None  # what diskimage-builder takes as provided, and by whom
    kept: dict[str, Element] = {}
    lacking: list[str] = []
    while queue:
        name = queue.popleft()
        if name not in provided and name in universe:
            element = seen[name] = universe[name]
            provided.update(virtual for virtual in element.provides if virtual != name)
            for need in _in_turn(element.deps, universe):
                if need not in needed_by:
                    needed_by[need] = name
                    queue.append(need)
        if not queue:
            if upstream is None:
                upstream = {virtual: name for name, element in seen.items() for virtual in element.provides}
            kept = _not_provided(seen)
            provided = {virtual for element in kept.values() for virtual in element.provides}
            lacking = [need for need in needed_by if need not in provided and need not in seen]
            queue.extend(need for need in lacking if need in universe)
    left_out = {name: provider for name, provider in (upstream or {}).items() if name in kept}
    return Expansion(kept, {need: needed_by[need] for need in lacking}, left_out)


def _in_turn(needs: Iterable[str], universe: Mapping[str, Element]) -> list[str]:
    """The names of one ``element-deps``, sorted; those that another one of them provides come last."""
    names = sorted(set(needs))
    elements = [universe[name] for name in names if name in universe]
    by_others = {virtual for element in elements for virtual in element.provides if virtual != element.name}
    return sorted(names, key=lambda name: name in by_others)


def _not_provided(seen: Mapping[str, Element]) -> dict[str, Element]:
    """Of elements in the order in which they were found those that are in the image: no later one provides them that
    is in the image itself."""
    kept: dict[str, Element] = {}
    provided: set[str] = set()
    for name, element in reversed(list(seen.items())):
        if name not in provided:
            kept[name] = element
            provided.update(element.provides)
    return dict(reversed(list(kept.items())))


def _refuse_doubles(kept: Mapping[str, Element], asked: Iterable[str]) -> None:
    """UsageError where two elements provide one name, or one provides what the user asked for."""
    taken: dict[str, str] = {}
    for name in sorted(kept):
        for virtual in dict.fromkeys(kept[name].provides):
            if virtual in taken:
                raise UsageError(f"{virtual!r} is provided by both {taken[virtual]} and {name}", hint="leave one out")
            taken[virtual] = name
    for name in asked:
        if name in taken and taken[name] != name:
            raise UsageError(f"{name!r} was asked for, but {taken[name]!r} stands in for it", hint="leave one out")


def resolve(asked: Sequence[str], universe: Mapping[str, Element]) -> Resolution:
    """The asked elements and all they need, without what others provide (contract: DIB element-info).

    Raises UsageError for an unknown element, a name provided twice, an asked element that another one provides, and
    anything but exactly one operating system.
    """
    expansion = expand(asked, universe)
    kept = expansion.kept
    for element in kept.values():
        if element.fault:
            raise element.fault
    for name, needed_by in expansion.missing.items():
        raise _unknown(name, needed_by, universe)
    system = _check_one_operating_system(kept, universe)
    _refuse_doubles(kept, asked)
    notes = tuple(
        f"the element {name} is in the image; diskimage-builder would leave it out, for {provider} provides it"
        + (" itself" if name == provider else ", which is not in the image")
        for name, provider in expansion.left_out.items()
    )
    return Resolution(tuple(kept[name] for name in sorted(kept)), system, notes)
