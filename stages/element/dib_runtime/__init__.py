"""What diskimage-builder's driver gives its scripts beside the elements' own folders, as files of the hooks tree.

Each is seen, and so covered by the key, only by a script whose text names it (``stages.element.references``):

- ``lib.d/``: the shell functions and defaults that ``_LIB`` leads to; ``dib-run-parts`` lies in the root as well;
- ``python.d/``: the Python modules that elements' programs import;
- ``outside.d/``: commands for outside scripts, ``sudo`` above all: they run as the build container's root already;
- ``elements.d/``: the elements' folders, to which IMAGE_ELEMENT_YAML, ELEMENTS_PATH and get_image_element_array lead;
- the elements' ``source-repository-*`` files, in the root.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from stages.element.environment import PATH
from stages.element.hooks import GENERATED, HookFile, HooksTree, read_folder

LIB = "lib.d"
PYTHON = "python.d"
COMMANDS = "outside.d"
ELEMENTS = "elements.d"
RUN_PARTS = "dib-run-parts"
REPOSITORIES = "source-repository-"
# Words by which a script comes to the elements' folders.
LISTS = frozenset({"IMAGE_ELEMENT_YAML", "ELEMENTS_PATH", "get_image_element_array", "get_elements"})
FUNCTIONS = ("die", "get_image_element_array")
_HERE = Path(__file__).parent


def _own(folder: str, below: str) -> dict[str, HookFile]:
    return {
        f"{below}/{path}": HookFile(f"{below}/{path}", GENERATED, hook.mode, hook.data)
        for path, hook in read_folder(GENERATED, _HERE / folder).items()
    }


def files(elements: Sequence[tuple[str, Path]], merged: HooksTree) -> dict[str, HookFile]:
    """All that is provided, by path; ``elements`` as (name, folder), ``merged`` their hooks tree."""
    result = {**_own("lib", LIB), **_own("python", PYTHON), **_own("commands", COMMANDS)}
    result[RUN_PARTS] = HookFile(RUN_PARTS, GENERATED, 0o755, result[f"{LIB}/{RUN_PARTS}"].data)
    result.update(repository_files(elements))
    if any(word in hook.text for hook in merged.values() for word in LISTS):
        for name, folder in elements:
            for path, hook in read_folder(name, folder).items():
                hooks_path = f"{ELEMENTS}/{name}/{path}"
                result[hooks_path] = HookFile(hooks_path, GENERATED, hook.mode, hook.data, hook.target)
    return result


def repository_files(elements: Sequence[tuple[str, Path]]) -> dict[str, HookFile]:
    """The elements' ``source-repository-*`` files, by name; the first element's, where two bring the same."""
    files: dict[str, HookFile] = {}
    for name, folder in elements:
        for file in sorted(folder.glob(f"{REPOSITORIES}*")):
            files.setdefault(file.name, HookFile(file.name, name, 0o644, file.read_bytes()))
    return files


def places(hooks: str, *, inside: bool) -> dict[str, str]:
    """The variables that say where a script finds what is provided, with the merged hooks tree at ``hooks``."""
    where = {
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "PATH": f"{hooks}/bin:{PATH}" if inside else f"{hooks}/bin:{hooks}/{COMMANDS}:{PATH}",
        "TMP_HOOKS_PATH": hooks,
        "ELEMENTS_PATH": f"{hooks}/{ELEMENTS}",
        "_LIB": f"{hooks}/{LIB}",
    }
    return where if inside else {**where, "PYTHONPATH": f"{hooks}/{PYTHON}"}


def variables(elements: Sequence[tuple[str, Path]], hooks: str) -> dict[str, str]:
    """The variables that list the elements, where a stage sees the hooks tree at ``hooks``."""
    return {"IMAGE_ELEMENT_YAML": yaml.safe_dump(elements_map(elements, hooks), default_flow_style=True, width=1 << 20)}


def functions(elements: Sequence[tuple[str, Path]], hooks: str) -> dict[str, str]:
    """The exported bash functions, by name, each as an environment holds it."""
    return dict(zip(FUNCTIONS, (die(), element_array(elements, hooks)), strict=True))


def elements_map(elements: Sequence[tuple[str, Path]], hooks: str) -> dict[str, str]:
    """The folder of each element, by name, where a stage sees the hooks tree at ``hooks``."""
    return {name: f"{hooks}/{ELEMENTS}/{name}" for name, _ in elements}


def element_array(elements: Sequence[tuple[str, Path]], hooks: str) -> str:
    """The exported bash function get_image_element_array, as the environment holds one."""
    pairs = " ".join(f"[{name}]={folder}" for name, folder in elements_map(elements, hooks).items())
    return f"() {{ echo '{pairs} ';\n}}"


def die() -> str:
    """The exported bash function die, as the environment holds one."""
    text = (_HERE / "lib" / "die").read_text(encoding="utf-8")
    body = text.partition("die() {")[2].partition("\n}\n")[0]
    return f"() {{{body}\n}}"
