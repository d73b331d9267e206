"""What DIB's ``element-info`` prints for elements: their whole set, as a list or as bash text.

The bash text sets ``IMAGE_ELEMENT``, ``IMAGE_ELEMENT_YAML`` and the exported function ``get_image_element_array``.
diskimage-builder prints its sets in no order; here names are sorted.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import yaml

from stages.element.resolve import Element


def names(elements: Sequence[Element]) -> str:
    """The names in one line."""
    return " ".join(element.name for element in elements)


def _quoted(text: str) -> str:
    """In single quotes, also where no quotes are needed: so it is in diskimage-builder's own text."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def bash(elements: Sequence[Element]) -> str:
    """The text that ``eval`` takes."""
    paths = {element.name: str(element.path) for element in elements}
    array = "".join(f"[{shlex.quote(name)}]={shlex.quote(path)} " for name, path in paths.items())
    return "\n".join(
        [
            f"export IMAGE_ELEMENT={_quoted(names(elements))}",
            f"export IMAGE_ELEMENT_YAML={_quoted(yaml.safe_dump(paths))}",
            "function get_image_element_array {",
            f"  echo {_quoted(array)}",
            "};",
            "export -f get_image_element_array;",
        ]
    )
