"""Variables of environment.d whose values are known only in the tree (``stages.element.tree_snippets``), in a plan.

A stage that names one is given it just before it runs. In its key are the texts of the snippets that it comes from,
and what these name: with the tree below, which the key covers anyway, that is all that the value can hang on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from stages.element import references, tree_snippets
from stages.element.hooks import HookFile, Phase
from stages.element.package_installs import asked_variables
from stages.element.tree_snippets import Sourcing
from stages.redaction.keyed import KeyDigests


def of_stage(sourcing: Sourcing, phase: Phase, texts: Iterable[str], visible: Collection[str]) -> tuple[str, ...]:
    """The variables that a stage is given late: inside all that hang on the root, outside those of the release.

    ``visible`` are those that it sees. In root.d there is no tree to ask.
    """
    if phase.name == "root":
        return ()
    names = sourcing.names if phase.inside else sourcing.of_release
    return tuple(sorted(tree_snippets.names_in(texts, names) | names.intersection(visible)))


def inputs(
    sourcing: Sourcing, late: Collection[str], variables: Mapping[str, str], digests: KeyDigests
) -> dict[str, str]:
    """What the late variables come from, as inputs of a key; ``variables`` are those of the build."""
    if not late:
        return {}
    texts = [hook.text for hook in (*sourcing.hanging.values(), *sourcing.files.values())]
    visible = references.visible_variables(texts, variables, frozenset())
    return {
        **{f"sourced in the tree {path}": hook.digest for path, hook in {**sourcing.files, **sourcing.hanging}.items()},
        **{
            f"there with {name}": digests.of_variable(name, value)
            for name, value in visible.items()
            if name not in sourcing.names
        },
    }


def remark(sourcing: Sourcing, phase: Phase, script: HookFile, texts: Iterable[str], late: Collection[str]) -> str:
    """What is to be said of a script outside that names a variable which hangs on another root than the tree; or ""."""
    return "" if phase.inside else _of_build_image(sourcing, script, texts, late)


def remarks_on_disk(sourcing: Sourcing, scripts: Iterable[HookFile]) -> tuple[str, ...]:
    """The same of the scripts of ``--privileged``, which run on the finished disk and are no stages."""
    return tuple(filter(None, (_of_build_image(sourcing, script, [script.text], ()) for script in scripts)))


def _of_build_image(sourcing: Sourcing, script: HookFile, texts: Iterable[str], late: Collection[str]) -> str:
    names = tree_snippets.names_in(texts, sourcing.names) - set(late)
    if not names:
        return ""
    return (
        f"{script.path} (element {script.element}) names {', '.join(sorted(names))}, which {_files(sourcing)} makes of "
        "the root that it is sourced in: here of the build image's (diskimage-builder: of the machine's)"
    )


def remark_on_packages(sourcing: Sourcing, elements: Sequence[tuple[str, Path]]) -> str:
    """The same of what package-installs asks for."""
    names = asked_variables(elements) & sourcing.names if sourcing.names else set()
    if not names:
        return ""
    return (
        f"package-installs asks for {', '.join(sorted(names))}, which {_files(sourcing)} makes of the root that it is "
        "sourced in: here of the build image's (diskimage-builder: of the machine's)"
    )


def _files(sourcing: Sourcing) -> str:
    return ", ".join(f"{path} (element {hook.element})" for path, hook in sourcing.hanging.items())
