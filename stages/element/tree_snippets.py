"""Snippets of environment.d that look at the root in which they are sourced, and what hangs on that.

diskimage-builder sources environment.d once a phase, inside the tree for phases inside. Here it is sourced once, before
there is a tree, in the build image. A snippet that reads ``/etc/os-release`` so has another root there than its author
thinks of: what it sets is not taken from there, but from one more sourcing in the tree, just before the script that
names it. The script's key has the snippet's text in the place of the value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stages.element import references
from stages.element.environment import SOURCE
from stages.element.hooks import GENERATED, HookFile, HooksTree

# What begins a word that is a path of the root's own files.
_PATH = re.compile(r"(?<![\w.$}/:-])/(?:etc|usr|lib|lib64|var|opt|bin|sbin|root|home|srv|boot|run)(?:/[\w.+*?$@-]+)+")
_RELEASE = re.compile(r"/etc/[\w-]*release\b|/usr/lib/os-release\b|/etc/(?:debian_version|issue)\b|\blsb_release\b")
_TOOLS = re.compile(
    r"(?:^|[;&|(`!{]|\b(?:if|then|do|else|elif|while|until|command|exec|eval)\b)\s*(?:sudo\s+(?:-\w+\s+)*)?"
    r"(?:lsb_release|rpm|dpkg|dpkg-query|apt-cache|apt-config|dnf|yum|zypper|pacman|apk|getent|which|hash|type|"
    r"python[0-9.]*|perl|systemctl|command\s+-[vV])\b",
    re.MULTILINE,
)
# A line that only names a path, as a value: NAME=..., export NAME=..., : ${NAME:=...}; no command is run for it.
_PLAIN = re.compile(r"""\s*(?:(?:export|readonly)\s+|:\s+)?["']?(?:\$\{)?\w+(?::?[-=]|\+=)[^`]*\Z""")
_PRINTED = re.compile(r"\s*(?:echo|printf|die)\b[^<|`]*\Z")
_OF_VARIABLE = re.compile(  # reads the file that a variable names
    r"""(?:^|[\s;&|(])(?:(?:\.|source|cat|grep|awk|sed|head|ls)\s[^#\n]*\$|(?:\[\[?|test)\s+(?:!\s+)?-[a-zA-Z]\s+["']?\$)"""
    r"""|<\s*["']?\$""",
    re.MULTILINE,
)
_ASSIGNED = re.compile(r"(?<![\w$\[{-])([A-Za-z_]\w*)\+?=|\$\{([A-Za-z_]\w*):?=")
_LISTED = re.compile(
    r"\b(?:export|read|declare|typeset|printf\s+-v|mapfile|readarray)\s+((?:-\w+\s+)*)([A-Za-z_][\w ]*)"
)
_ANY = re.compile(r"\bset\s+-(?:\w*a\w*\b|o\s+allexport)|\beval\b")
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Sourcing:
    """The snippets in order, the variables that they begin with, and which variables hang on the root.

    ``hanging`` has the snippets, by path, that look at the root or use what such a one sets. ``of_release`` are the
    variables that hang on the files that tell of the release. ``files`` are those of the hooks tree that snippets name,
    by path; without a hanging snippet none is needed.
    """

    snippets: tuple[HookFile, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    of_release: frozenset[str] = frozenset()
    hanging: Mapping[str, HookFile] = field(default_factory=dict)
    files: Mapping[str, HookFile] = field(default_factory=dict)


NOTHING = Sourcing()


def sourcing(
    snippets: Sequence[HookFile], initial: Mapping[str, str], tree: HooksTree, builtin: Collection[str] = ()
) -> Sourcing:
    """What of the snippets hangs on their root; ``initial`` are the variables before the first of them.

    ``tree`` is the hooks tree. Snippets of ``builtin`` elements look at no root.
    """
    names: set[str] = set()
    of_release: set[str] = set()
    hanging: dict[str, HookFile] = {}
    for hook in snippets:
        text = _code(hook.text)
        used = set(_WORD.findall(text))
        if not (used & names or (hook.element not in builtin and looks(hook.text))):
            continue
        hanging[hook.path] = hook
        sets = used if _ANY.search(text) else _sets(text)
        if _RELEASE.search(text) or used & of_release:
            of_release |= sets
        names |= sets
    files: dict[str, HookFile] = {}
    for hook in snippets if hanging else ():
        files |= references.visible_files(replace(hook, element=GENERATED), tree)
    own = {hook.path for hook in snippets}
    beside = {path: hook for path, hook in files.items() if path not in own}
    return Sourcing(tuple(snippets), initial, frozenset(names), frozenset(of_release), hanging, beside)


def looks(text: str) -> bool:
    """Does a snippet read the files of its root, or run its programs to ask about it?"""
    code = _code(text)
    if _TOOLS.search(code):
        return True
    lines = [
        line for line in code.splitlines() if _PATH.search(line) and not (_PRINTED.match(line) and "$(" not in line)
    ]
    if any(not _PLAIN.match(line) or "$(" in line for line in lines):
        return True
    return bool(lines) and _OF_VARIABLE.search(code) is not None


def _code(text: str) -> str:
    """The text without its comments, with lines that go on joined."""
    return re.sub(r"(?m)(?:^|\s)#.*$", "", text.replace("\\\n", " "))


def _sets(code: str) -> set[str]:
    """The names that a snippet assigns to, or exports."""
    names = {name for pair in _ASSIGNED.findall(code) for name in pair if name}
    return names.union(*(words.split() for _, words in _LISTED.findall(code)))


def names_in(texts: Iterable[str], names: frozenset[str]) -> frozenset[str]:
    """Which of these names the texts name."""
    return frozenset().union(*(names.intersection(_WORD.findall(text)) for text in texts)) if names else frozenset()


# Like the first sourcing (``stages.element.environment``); what is exported comes after all that the snippets print.
MARK = b"\0dib-ctr\0"
_CAPTURE = f"""{SOURCE}
dib_ctr_capture() {{
    trap 'dib_ctr_end $?' EXIT
    dib_ctr_source
    dib_ctr_snippet=environment
    printf '\\0dib-ctr\\0'
    env -0
}}
(dib_ctr_capture)
"""


def argv(paths: Sequence[str]) -> list[str]:
    """The command that sources these files, and prints ``MARK`` and what they export."""
    return ["/bin/bash", "-c", _CAPTURE, "environment.d", *paths]
