"""What is odd about the elements of one image, a sentence each, for who builds it: the check's warnings.

What is an error stops a build where it is read, and a script that bash cannot read stops it here. Elements change
less often than images are built: what was found is kept with the state of all files that were looked at, as a file
system tells it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.atomic_file import write_file
from blockdev.core.errors import UsageError
from blockdev.core.typed_json import read
from builder.host_state.probe_results import cache_folder
from stages.element.resolve import BUILTIN, Element

if TYPE_CHECKING:
    from builder.elements.check.finding import Finding

FORMAT = 2  # raise it when the check says more, or other things
KEPT = 100  # sets of elements
# A matter of style, or said where it is met.
UNSAID = frozenset({"no-readme", "cycle", "own-name", "snippet-executable", "broken-link", "unknown-element"})


def remarks(elements: Sequence[Element]) -> tuple[str, ...]:
    """A sentence for each warning about the elements of one image; the built-in ones are without any.

    Raises UsageError for scripts that bash cannot read.
    """
    own = [element for element in elements if not element.path.is_relative_to(BUILTIN)]
    if not own:
        return ()
    whole = hashlib.sha256(f"{FORMAT} {' '.join(element.name for element in elements)}".encode())
    for element in own:
        whole.update(f"{element.path} {element.shadows}".encode())
        for state in _states(element.path):
            whole.update(state)
    file, key = cache_folder() / "remarks.json", whole.hexdigest()
    kept = _kept(file)
    if key not in kept:
        kept = {**kept, key: tuple(_sentences(own, elements))}
        with suppress(OSError):  # then the next build looks again
            write_file(file, json.dumps(dict([*kept.items()][-KEPT:])))
    return kept[key]


def _states(folder: Path | str) -> Iterator[bytes]:
    """Name, kind, size and times of change of everything below a folder, what links lead to too."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        with suppress(OSError):  # a link to nothing
            status = entry.stat()
            if not entry.is_dir():  # (a folder says all that there is to say by what is in it)
                times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
                yield os.fsencode(f"\0{entry.path}\0{status.st_mode} {status.st_size} {times}")
        if entry.is_dir(follow_symlinks=False):
            yield from _states(entry.path)
        elif entry.is_symlink():
            yield os.fsencode(f"\0{entry.path}\0{Path(entry.path).readlink()}")


def _kept(file: Path) -> dict[str, tuple[str, ...]]:
    try:
        return read(dict[str, tuple[str, ...]], json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _sentences(own: Sequence[Element], elements: Sequence[Element]) -> Iterator[str]:
    from builder.elements.check import file_names, run, scripts
    from builder.elements.check.finding import WARNING, order

    universe = {element.name: element for element in elements}
    for element in own:
        files = scripts.files(element)
        findings = [*run.alone(element, universe, {}, files, used=True)]
        findings += file_names.without_effect(element, files, universe)
        for finding in sorted(dict.fromkeys(findings), key=order):
            if _stops(finding, element):
                raise UsageError(
                    f"element {element.name}: {finding.text}", where=finding.where, hint="correct the script"
                )
            if finding.code not in UNSAID and (finding.severity == WARNING or finding.code == "syntax"):
                yield _sentence(finding, element)
        yield from _hidden_installs(element)


def _stops(finding: Finding, element: Element) -> bool:
    """Is this a script of a phase, or a file of environment.d, that bash cannot read: all of these are run."""
    from builder.elements.check.finding import ERROR
    from stages.element.hook_checks import is_in_phase

    path = finding.file.relative_to(element.path).as_posix() if finding.file.is_relative_to(element.path) else ""
    is_run = is_in_phase(path) or path.startswith("environment.d/")
    return finding.code == "syntax" and finding.severity == ERROR and is_run


def _sentence(finding: Finding, element: Element) -> str:
    path = finding.file.relative_to(element.path).as_posix() if finding.file.is_relative_to(element.path) else ""
    where = "" if path in ("", ".") or path in finding.text else f" {path}{f':{finding.line}' if finding.line else ''}:"
    return f"element {element.name}:{where} {finding.text}"


def _hidden_installs(element: Element) -> Iterator[str]:
    """Packages of an element of the same name later on the path: diskimage-builder installs them as well."""
    for other in element.shadows:
        if not other.is_relative_to(BUILTIN):
            for file in sorted(other.glob("package-installs.*")):
                yield f"element {element.name}: {file} is not used; diskimage-builder installs what it names, too"
