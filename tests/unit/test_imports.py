"""How the code hangs together: what imports what, read from the sources, imports for types and lazy ones counted."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("builder", "stages", "blockdev", "qemu")
# What each floor may import beside itself: blockdev and qemu are the lowest, and stand side by side.
BELOW = {
    "builder": ("stages", "blockdev", "qemu"),
    "stages": ("blockdev", "qemu"),
    "blockdev": (),
    "qemu": ("blockdev.core",),
}
LOOSE = ("__init__", "cli")  # what may lie beside the rooms
MOST_LINES = 400

Graph = Mapping[str, set[str]]


def sources() -> dict[str, Path]:
    """Every module of ours by its name, without the elements (their scripts are no modules of ours)."""
    found = {}
    for package in PACKAGES:
        for file in sorted((CHECKOUT / package).rglob("*.py")):
            path = file.relative_to(CHECKOUT)
            if path.parts[:2] != ("stages", "elements"):
                found[".".join(path.with_suffix("").parts).removesuffix(".__init__")] = file
    return found


def imports(text: str, modules: Iterable[str]) -> set[str]:
    """Which of the modules a text imports, anywhere in it."""
    modules = set(modules)
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import says its module in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules or {str(node.module)}
    return found & modules


def arrows_up(graph: Graph) -> list[str]:
    """Imports of a module by one that lies below it."""

    def may(module: str, other: str) -> bool:
        floor = module.partition(".")[0]
        return any(other == name or other.startswith(f"{name}.") for name in (floor, *BELOW[floor]))

    return [f"{one} imports {other}" for one in sorted(graph) for other in sorted(graph[one]) if not may(one, other)]


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that all lead to each other, the smallest first."""
    reach = {node: _reachable(graph, node) for node in graph}
    found = {tuple(sorted(other for other in reach[node] if node in reach.get(other, ()))) for node in graph}
    return sorted((list(group) for group in found if group), key=len)


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for node in graph.get(todo.pop(), ()):
            if node not in found:
                found.add(node)
                todo.append(node)
    return found


def rooms(graph: Graph) -> dict[str, set[str]]:
    """The graph of the rooms (builder.fleet, stages.layers) that the modules lie in."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    found: dict[str, set[str]] = {}
    for module, others in graph.items():
        found.setdefault(room(module), set()).update(room(other) for other in others if room(other) != room(module))
    return found


def within(graph: Graph, groups: Iterable[Iterable[str]]) -> list[str]:
    """The imports that lead from one room or module of a group to another one of it."""
    found = []
    for group in map(set, groups):
        for one in sorted(graph):
            for other in sorted(graph[one]):
                ends = {end for end in group if one == end or one.startswith(f"{end}.")}
                others = {end for end in group if other == end or other.startswith(f"{end}.")}
                if ends and others and ends != others:
                    found.append(f"{one} imports {other}")
    return found


@pytest.fixture(scope="module")
def graph() -> Graph:
    """What imports what."""
    modules = sources()
    return {name: imports(file.read_text(encoding="utf-8"), modules) - {name} for name, file in modules.items()}


def files(sentences: Iterable[str]) -> list[str]:
    """The same sentences with files in place of modules."""
    known = {name: str(file.relative_to(CHECKOUT)) for name, file in sources().items()}
    return [" ".join(known.get(word, word) for word in sentence.split()) for sentence in sentences]


def test_imports_go_down(graph: Graph) -> None:
    assert files(arrows_up(graph)) == []


def test_no_modules_import_each_other(graph: Graph) -> None:
    assert files(within(graph, circles(graph))) == []


def test_no_rooms_import_each_other(graph: Graph) -> None:
    assert files(within(graph, circles(rooms(graph)))) == []


def test_a_module_is_of_a_size_to_read() -> None:
    tests = {str(file.relative_to(CHECKOUT)): file for file in (CHECKOUT / "tests").rglob("*.py")}
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in {**sources(), **tests}.items()}
    assert "tests/unit/test_imports.py" in lines
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("package", ["builder", "stages"])
def test_modules_lie_in_rooms(package: str) -> None:
    loose = {file.stem for file in (CHECKOUT / package).glob("*.py")}
    assert loose <= set(LOOSE)


# -- that these would notice -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import builder.cli",
        "from builder import cli",
        "from builder.cli import main",
        "def main():\n    from builder.cli import main",
        "if TYPE_CHECKING:\n    from builder.cli import main as other",
    ],
)
def test_each_way_to_import_is_seen(text: str) -> None:
    assert imports(text, ["builder", "builder.cli"]) == {"builder.cli"}


def test_an_arrow_up_is_told_with_both_names() -> None:
    graph = {
        "builder.cli": {"stages.plan.key", "qemu.boot"},
        "stages.plan.key": {"blockdev.core.digest", "builder.cli"},
        "blockdev.core.digest": {"qemu.boot"},
        "qemu.boot": {"blockdev.core.digest", "blockdev.layout.model"},
    }
    assert arrows_up(graph) == [
        "blockdev.core.digest imports qemu.boot",
        "qemu.boot imports blockdev.layout.model",
        "stages.plan.key imports builder.cli",
    ]


def test_a_circle_is_told_with_its_imports() -> None:
    graph: Graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert circles(graph) == [["b", "c"]]
    assert within(graph, circles(graph)) == ["b imports c", "c imports b"]


def test_a_circle_of_rooms_is_told_with_the_imports_of_its_modules() -> None:
    graph = {"builder.a.x": {"builder.b.y", "builder.a.w"}, "builder.b.z": {"builder.a.w", "builder.c"}}
    assert circles(rooms(graph)) == [["builder.a", "builder.b"]]
    assert within(graph, circles(rooms(graph))) == [
        "builder.a.x imports builder.b.y",
        "builder.b.z imports builder.a.w",
    ]


def test_sentences_name_files() -> None:
    assert files(["builder.cli imports builder.fleet"]) == ["builder/cli.py imports builder/fleet/__init__.py"]
