"""What elements' environment.d says of a variable, as far as it can be read without running anything.

The snippets run in the build container. Some things must be known before there is one: which release is meant, which
Containerfile. So the two usual forms are read here, ``NAME=word`` and ``NAME="${NAME:-word}"``; all else (and what is
indented: it hangs on a condition) counts as not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stages.element.environment import SNIPPET_NAME
from stages.element.resolve import Element

_LINE = re.compile(r'(?:export\s+|:\s+)?"?(?:\$\{)?(?P<name>\w+)(?P<rest>:?=.*?)(?:\s+#.*)?\s*\Z')
_WORD = re.compile(r"""=(?P<quote>["']?)(?P<word>[^\s"'$`\\;]*)(?P=quote)\Z""")
_DEFAULT = re.compile(r"""=(?P<quote>"?)\$\{(?P<name>\w+):?-(?P<word>[^\s"'$`\\{}]*)\}(?P=quote)\Z""")
_ASSIGNED = re.compile(r""":=(?P<word>[^\s"'$`\\{}]*)\}"?\Z""")


def declared(elements: Iterable[Element], variables: Mapping[str, str], asked: Iterable[str]) -> dict[str, str]:
    """The ``asked`` variables after all snippets, beginning with the user's; those not known are absent."""
    names = set(asked)
    values = {name: variables[name] for name in names if name in variables}
    snippets = {path.name: path for element in elements for path in sorted((element.path / "environment.d").glob("*"))}
    for name, path in sorted(snippets.items(), key=lambda pair: pair[0].encode()):
        if SNIPPET_NAME.match(name) and path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                _take(line, names, values)
    return values


def _take(line: str, names: set[str], values: dict[str, str]) -> None:
    """What one line does to the variables."""
    match = _LINE.match(line)
    if match is None or match["name"] not in names:
        return
    name, rest = match["name"], match["rest"]
    if word := _WORD.match(rest):
        values[name] = word["word"]
    elif ((default := _DEFAULT.match(rest)) and default["name"] == name) or (default := _ASSIGNED.match(rest)):
        values[name] = values.get(name) or default["word"]
