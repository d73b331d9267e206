"""What lies in phase folders and in environment.d: will it run, can it start, is it bash that bash can read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from blockdev.core import tools
from builder.elements.check.finding import ERROR, WARNING, Finding
from stages.element.hook_checks import is_in_phase, oddity
from stages.element.hooks import SKIPPED, HookFile
from stages.element.resolve import Element

SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/dash", "/usr/bin/dash")
INTERPRETERS = (
    *SHELLS,
    "/usr/bin/env",
    "/usr/bin/python3",
    "/usr/local/bin/dib-python",
    "/usr/bin/perl",
    "/sbin/openrc-run",
)
SNIPPET = re.compile(r"[\w.\\-]+\Z", re.ASCII)


def files(element: Element) -> dict[str, Path]:
    """All files of the element by their path in it, without its tests; broken links too, files of links once."""
    scripts: dict[str, Path] = {}
    for directory, folders, names in os.walk(element.path):
        top = Path(directory) == element.path
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not (top and name.startswith(".")))
        for name in sorted(names):
            file = Path(directory, name)
            if not name.startswith(".") and not name.endswith(".pyc"):
                scripts[file.relative_to(element.path).as_posix()] = file
    return scripts


def _is_bash(data: bytes, path: str) -> bool:
    line = data.split(b"\n", 1)[0]
    if b"\0" in data:
        return False
    if line.startswith(b"#!"):
        return bool(re.search(rb"[/ ](ba|da)?sh\b", line))
    return is_in_phase(path) or path.startswith("environment.d/")


def _syntax(element: str, path: str, file: Path, data: bytes) -> Iterator[Finding]:
    if not _is_bash(data, path):
        return
    # (What a script turns on as it runs, such a look does not see.)
    if tools.locate("bash") is None:
        return
    done = tools.run(["bash", "-O", "extglob", "-n", str(file)], seconds=60)
    if done.status == 0:
        return
    message = done.errors
    match = re.search(r": line ([0-9]+): (.*)", message)
    line, text = (int(match[1]), match[2]) if match else (0, message.strip())
    before = data.decode("utf-8", "replace").splitlines()[: max(line - 1, 0)]
    # bash reads a script as it runs: behind an `exit` may lie what it never comes to.
    severity = WARNING if any(re.search(r"\b(exit|exec|return)\b", each) for each in before) else ERROR
    yield Finding(severity, "syntax", element, file, line, f"bash cannot read this: {text}")


def _interpreter(element: str, file: Path, data: bytes) -> Iterator[Finding]:
    line = data.split(b"\n", 1)[0]
    if data.startswith(b"\x7fELF"):
        return
    if not line.startswith(b"#!"):
        text = "there is no interpreter line; bash runs it"
        yield Finding(WARNING, "no-interpreter", element, file, 1, text)
        return
    words = line[2:].decode("utf-8", "replace").split()
    if words and words[0].startswith("/") and words[0] not in INTERPRETERS:
        text = f"the tree must bring the interpreter {words[0]}; the known ones are {', '.join(INTERPRETERS)}"
        yield Finding(WARNING, "unknown-interpreter", element, file, 1, text)


def _script(element: str, path: str, file: Path, hook: HookFile) -> Iterator[Finding]:
    odd = oddity(hook)
    if odd is not None:
        severity = ERROR if odd.stops else WARNING
        line = 1 if odd.code in ("carriage-return", "interpreter") else 0
        yield Finding(severity, odd.code, element, file, line, odd.text)
    if not hook.is_script:
        return
    yield from _interpreter(element, file, hook.data)
    if odd is None:
        carriage = next((n for n, text in enumerate(hook.data.split(b"\n"), 1) if text.endswith(b"\r")), 0)
        if carriage and b"\0" not in hook.data:
            yield Finding(WARNING, "carriage-return", element, file, carriage, "the line ends with a carriage return")


def _snippet(element: str, path: str, file: Path, hook: HookFile) -> Iterator[Finding]:
    name = path.partition("/")[2]
    if not SNIPPET.match(name):
        text = f"{path} is not sourced: its name has more than letters, digits, . - and _"
        yield Finding(WARNING, "snippet-name", element, file, 0, text)
    if hook.mode & 0o111:
        yield Finding(WARNING, "snippet-executable", element, file, 0, f"{path} is sourced and needs no run bit")
    for number, line in enumerate(hook.data.decode("utf-8", "replace").split("\n"), 1):
        if re.match(r"\s*set\s+-\w*x|\s*set\s+-o\s+xtrace", line):
            text = "this traces every script of the phase after it"
            yield Finding(WARNING, "snippet-trace", element, file, number, text)
        if line.endswith("\r"):
            yield Finding(WARNING, "carriage-return", element, file, number, "the line ends with a carriage return")
            break


def check(element: Element, paths: Mapping[str, Path]) -> Iterator[Finding]:
    """What is wrong with the element's files as files: links, kinds, run bits, names, first lines, syntax."""
    for path, file in paths.items():
        is_link = file.is_symlink()
        if path.startswith("static/") and is_link:
            continue
        try:
            mode = file.stat().st_mode
        except OSError as error:
            if is_link and "/" in path:
                text = f"{path} is a link to {file.readlink()}, which is not in this element"
                yield Finding(WARNING, "broken-link", element.name, file, 0, text)
            else:
                yield Finding(ERROR, "unreadable", element.name, file, 0, f"{path} cannot be read: {error.strerror}")
            continue
        if not stat.S_ISREG(mode):
            if not stat.S_ISDIR(mode):
                yield Finding(ERROR, "odd-file", element.name, file, 0, f"{path} is neither a file nor a folder")
            continue
        snippet = path.startswith("environment.d/") and path.count("/") == 1
        executable = bool(mode & 0o111)
        if not (is_in_phase(path) or snippet or executable):
            continue
        try:
            data = file.read_bytes()
        except OSError as error:
            yield Finding(ERROR, "unreadable", element.name, file, 0, f"{path} cannot be read: {error.strerror}")
            continue
        hook = HookFile(path, element.name, 0o755 if executable else 0o644, data)
        if snippet:
            yield from _snippet(element.name, path, file, hook)
        elif is_in_phase(path):
            yield from _script(element.name, path, file, hook)
        if snippet or hook.is_script or not is_in_phase(path):
            yield from _syntax(element.name, path, file, data)
