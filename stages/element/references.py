"""What a script's text names: variables, files of the hooks tree, package tools and downloaders.

A stage is given just what its text names, and its key covers just what it is given; so a name that is missed here makes
a stage fail loudly, and can never make it stale.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Set

from stages.element import dib_runtime
from stages.element.hooks import GENERATED, PHASE_FOLDERS, HookFile, HooksTree

WORD = re.compile(r"[A-Za-z0-9_.+-]+")
PATH = re.compile(r"[A-Za-z0-9_.+/-]+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PREFIX = re.compile(r"([A-Z][A-Z0-9_]*_)(?:\$|%s|\{|['\"`]\s*[$+.])")
WHOLE_ENVIRONMENT = re.compile(
    r"\b(?:printenv|compgen\s+-[ve]|(?:declare|typeset|export)\s+-p|os\.environ(?!\s*(?:\[|\.get\b)))\b|\$\{!(?!\w+\[[@*]\]\})|"
    r"(?:^|[;&|(`]|\b(?:then|do|else)\b)\s*(?:env|set|export|declare)\s*(?:$|[|;&>)`])",
    re.MULTILINE,
)
HOOKS_FOLDER = "TMP_HOOKS_PATH"
# A proxy's variable whose name the script puts together: ``${scheme}_proxy``, ``f"{scheme}_proxy"``, ``% + "_proxy"``.
BUILT_PROXY = re.compile(r"(?:[}\"'`]|%s|\$\w+)(_proxy|_PROXY)\b")
# The merged folder of commands as a whole: ``$(dirname $0)/../bin/*``, ``$TMP_HOOKS_PATH/bin``.
ALL_COMMANDS = re.compile(r"(?:\.\.|in_target\.d|TMP_HOOKS_PATH\}?[\"']?)/bin/?(?:[*\s\"')]|$)", re.MULTILINE)
# A file or folder beside the script, which other elements may have put there: ``$(dirname $0)/scripts``.
BESIDE = re.compile(
    r"dirname\s+(?:--\s+)?[\"']?\$\{?(?:0|BASH_SOURCE(?:\[0\])?)\}?[\"']?\s*[)`][\"']?/([A-Za-z0-9_][A-Za-z0-9_.+/-]*)"
)
SECRET_FILES = ("REG_ACTIVATION_KEY", "REG_SAT_CA")  # variables of rhel-common
PACKAGE_TOOLS = frozenset(
    "apt apt-get aptitude debootstrap mmdebstrap install-packages dnf microdnf yum yumdownloader zypper pacman apk "  # noqa: SIM905
    "emerge".split()
)
# Folders of what is provided, and the word that leads to each.
PROVIDED = {dib_runtime.LIB: "_LIB", dib_runtime.PYTHON: "diskimage_builder", dib_runtime.COMMANDS: ""}
# A library that is copied into the tree: what its text names, the scripts inside that name the library look at.
LIBRARY_INSIDE = "ramdisk-functions"
DOWNLOADERS = frozenset(
    "curl wget git pip pip2 pip3 rsync ssh scp ftp cache-url get-pip podman docker skopeo npm cargo go gem urllib "  # noqa: SIM905
    "subscription-manager pyenv extract-image".split()
)

# Programs that take their settings from variables which no script writes out, and how these begin.
SETTINGS = {"pip": "PIP_", "pip2": "PIP_", "pip3": "PIP_"}


def words(text: str) -> frozenset[str]:
    """The words of a text, as file and command names are written."""
    result = set(WORD.findall(text))
    result.update(word.rstrip(".") for word in list(result))
    return frozenset(result)


def _paths_named(hook: HookFile, tree: HooksTree) -> set[str]:
    """The paths that one visible file makes visible: commands in ``bin`` by name, folders and what lies below by path.

    ``static`` names all below it, ``package-installs.d/install.d`` only that part of ``package-installs.d``. Scripts of
    phases are named together with the folder of hooks (``$TMP_HOOKS_PATH/install.d/50-x``): who changes them, or takes
    them away, must see them.
    """
    words_of_hook = words(hook.text)
    folders: dict[str, list[tuple[str, ...]]] = {}
    for written in set(PATH.findall(hook.text)):
        segments = [segment for segment in written.split("/") if segment not in ("", ".", "..")]
        for index, segment in enumerate(segments):
            folders.setdefault(segment.rstrip("."), []).append(tuple(segments[index + 1 :]))
    own = hook.path.partition("/")[0]
    for beside in BESIDE.findall(hook.text):
        folders.setdefault(own, []).append(tuple(segment for segment in beside.split("/") if segment))
    paths = _named_scripts(hook.text, tree) if HOOKS_FOLDER in words_of_hook else set()
    all_commands = ALL_COMMANDS.search(hook.text) is not None
    lists_elements = not words_of_hook.isdisjoint(dib_runtime.LISTS)
    for path, other in tree.items():
        folder, *rest = path.split("/")
        if not rest:
            if path in words_of_hook or (
                path.startswith(dib_runtime.REPOSITORIES) and dib_runtime.REPOSITORIES in words_of_hook
            ):
                paths.add(path)
        elif folder in PROVIDED:
            if PROVIDED[folder] in words_of_hook or (rest[0] in words_of_hook and folder == dib_runtime.COMMANDS):
                paths.add(path)
        elif folder == dib_runtime.ELEMENTS:
            if lists_elements and _names_part(rest[1:], words_of_hook):
                paths.add(path)
        elif folder == "bin":
            if all_commands or rest[0] in words_of_hook:
                paths.add(path)
        elif not other.is_script and any(tuple(rest[: len(below)]) == below for below in folders.get(folder, ())):
            paths.add(path)
    return paths


def _named_scripts(text: str, tree: HooksTree) -> set[str]:
    """The scripts of phases that a text which speaks of the folder of hooks names, each or all of a phase."""
    pairs = set[tuple[str, str]]()
    for written in PATH.findall(text):
        first, *segments = written.split("/")
        if first not in ("", HOOKS_FOLDER):  # relative to the folder: one script at least
            segments = [first, *segments] if len(segments) == 1 and segments[0] else []
        if segments and segments[0] in PHASE_FOLDERS:
            pairs.add((segments[0], segments[1] if len(segments) > 1 else ""))
    scripts = [path for path, hook in tree.items() if hook.is_script] if pairs else []
    return {
        path for path in scripts for folder, _, name in (path.partition("/"),) if pairs & {(folder, ""), (folder, name)}
    }


def _names_part(parts: list[str], words_of_hook: frozenset[str]) -> bool:
    """Is a file of an element's folder, whose path has these parts, what a script that goes through all looks at?

    That is each top-level file but for what people read, and what is below a folder that is named, or begun
    (``package-installs.``).
    """
    first = parts[0]
    begun = any(word[-1:] in ("-", "_", ".") and first.startswith(word) for word in words_of_hook)
    return first in words_of_hook or begun or (len(parts) == 1 and not first.upper().startswith("README"))


def visible_files(script: HookFile, tree: HooksTree) -> dict[str, HookFile]:
    """The files that a script can see: itself, its element's own data, and what these name, over and over."""
    seen = {script.path: script}
    phase = PHASE_FOLDERS.get(script.path.partition("/")[0])
    pending = [script]
    if phase is not None and phase.inside:  # the tree has its own commands
        library = tree.get(f"{dib_runtime.LIB}/{LIBRARY_INSIDE}")
        if library and LIBRARY_INSIDE in words(script.text):
            pending.append(library)
        tree = {path: hook for path, hook in tree.items() if not path.startswith(f"{dib_runtime.COMMANDS}/")}
    if script.element != GENERATED:
        seen.update(
            (path, hook)
            for path, hook in tree.items()
            if hook.element == script.element and not hook.is_script and not path.startswith(("bin/", "environment.d/"))
        )
    while pending:
        for path in _paths_named(pending.pop(), tree):
            if path not in seen:
                seen[path] = tree[path]
                if path.startswith("bin/"):
                    pending.append(tree[path])
    return seen


def visible_variables(texts: Iterable[str], environment: Mapping[str, str], always: Set[str]) -> dict[str, str]:
    """The variables that these texts name (or could name: by prefix, by asking for all), and the ones in ``always``.

    A text that names a program of ``SETTINGS`` names that program's variables.

    Asking for all does not give ``DIB_CTR_*``: these say how this machine builds; another one must come to the same.
    """
    names: set[str] = set(always)
    prefixes: set[str] = set()
    for text in texts:
        names.update(VARIABLE.findall(text))
        prefixes.update(PREFIX.findall(text))
        prefixes.update(SETTINGS[word] for word in words(text) & SETTINGS.keys())
        if WHOLE_ENVIRONMENT.search(text):
            prefixes.add("DIB_")
    return {
        name: value
        for name, value in sorted(environment.items())
        if name in names
        or any(name.startswith(prefix) and (prefix != "DIB_" or not name.startswith("DIB_CTR_")) for prefix in prefixes)
    }


def visible_functions(texts: Iterable[str], functions: Mapping[str, str]) -> dict[str, str]:
    """The bodies of those functions, by name, that these texts name, or that those name."""
    visible: dict[str, str] = {}
    pending = names_in(texts, functions)
    while pending:
        name = pending.pop()
        if name not in visible:
            visible[name] = functions[name]
            pending += names_in([functions[name]], functions)
    return dict(sorted(visible.items()))


def ask_for_all(texts: Iterable[str]) -> bool:
    """Does one of these texts ask for its whole environment."""
    return any(WHOLE_ENVIRONMENT.search(text) for text in texts)


def built_proxies(texts: Iterable[str], names: Iterable[str]) -> set[str]:
    """Which of these variables' names the texts may put together: all that end in a way in which one of them does."""
    ends = {end for text in texts for end in BUILT_PROXY.findall(text)}
    return {name for name in names if name.endswith(tuple(ends))}


def names_in(texts: Iterable[str], names: Iterable[str]) -> list[str]:
    """Which of these names the texts name."""
    words_of_texts: set[str] = set()
    for text in texts:
        words_of_texts.update(VARIABLE.findall(text))
        words_of_texts.update(WORD.findall(text))  # (a function's name may have a - in it)
    return [name for name in names if name in words_of_texts]


def visible_given(texts: Iterable[str], variables: Mapping[str, str], host_files: Iterable[str]) -> tuple[str, ...]:
    """The given files (``builder.request.host_files``) that a script sees: its variables', and SSH keys if named."""
    plain = [value.removeprefix("file://") for name, value in variables.items() if not name.startswith("BASH_FUNC_")]
    words = set(re.split(r"[\s,:]+", " ".join(plain))) | {value for value in plain if value.startswith("/")}
    folders = tuple(f"{word.rstrip('/')}/" for word in words if word.startswith("/") and word.rstrip("/"))
    keys = any(".ssh" in text for text in texts)
    return tuple(
        path
        for path in sorted(host_files)
        if path in words or path.startswith(folders) or (keys and path.startswith("/root/.ssh/"))
    )


def visible_secrets(variables: Mapping[str, str], host_files: Collection[str]) -> tuple[str, ...]:
    """The given files that a stage inside the tree sees while it installs packages: those of its registration."""
    return tuple(sorted({variables.get(name, "") for name in SECRET_FILES} & {*host_files}))


def uses_packages(texts: Iterable[str]) -> bool:
    """Do these texts name a tool that installs from package repositories."""
    return any(words(text) & PACKAGE_TOOLS for text in texts)


def uses_network(texts: Iterable[str]) -> bool:
    """Do these texts name a package tool or a downloader; all other stages run without any network."""
    return any(words(text) & (PACKAGE_TOOLS | DOWNLOADERS) or "://" in text for text in texts)
