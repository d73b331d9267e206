"""The files that name packages and services: package-installs, pkg-map, svc-map."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from blockdev.core.yaml_document import Document
from builder.elements.check.finding import ERROR, WARNING, Finding, refused
from qemu.architecture import ARCHITECTURES, canonical
from stages.element.package_installs import (
    FAMILIES,
    PHASES,
    Rule,
    check_pkg_map,
    check_rule,
    conditions,
    read_document,
    rules,
)
from stages.element.resolve import Element

MACHINES = (*ARCHITECTURES, "armel", "loong64", "mips64el", "mipsel", "ppc64", "ppc64le", "powerpc", "x32")  # for ARCH
INSTALLS = ("package-installs.json", "package-installs.yaml")
KEYS = ("phase", "uninstall", "build-only", "installtype", "arch", "not-arch", "dib_python_version", "when")
_TWICE = re.compile(r".*?:([0-9]+): (.*)\Z", re.DOTALL)
_OLD = re.compile(r"(pre-install|install|post-install)\.d/package-installs-")


def _line(where: str) -> int:
    number = where.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def _repeated(element: str, file: Path, twice: list[str]) -> Iterator[Finding]:
    for sentence in twice:
        match = _TWICE.match(sentence)
        line, text = (int(match[1]), match[2]) if match else (0, sentence)
        yield Finding(WARNING, "twice", element, file, line, f"{text}; the last one counts")


def _rule(element: str, file: Path, rule: Rule) -> Iterator[Finding]:
    def warn(code: str, key: str, text: str) -> Finding:
        return Finding(WARNING, code, element, file, _line(rule.where(key)), text)

    for key in rule.keys:
        if key not in KEYS:
            hint = nearest(str(key), KEYS)
            text = f"the key {key!r} of {rule.package} is not known and has no effect" + (f"; {hint}" if hint else "")
            yield warn("unknown-key", str(key), text)
    phase = rule.keys.get("phase", "install.d")
    if phase not in PHASES:
        text = f"{rule.package} is for the phase {phase!r}, which installs no packages; one of {', '.join(PHASES)} does"
        yield warn("phase", "phase", text)
    if rule.keys.get("uninstall", True) in (False, None, "false") and "uninstall" in rule.keys:
        text = f"{rule.package} is removed: `uninstall` counts whenever it is there, whatever its value"
        yield warn("uninstall-value", "uninstall", text)
    if rule.keys.get("build-only", True) in (False, "false"):
        text = f"{rule.package} is removed again: `build-only` counts whenever it is there, whatever its value"
        yield warn("uninstall-value", "build-only", text)
    for condition in conditions(rule):
        if "==" in condition:
            yield warn("when", "when", f"the condition {condition!r} compares with a value that begins with =")
    for key in ("arch", "not-arch"):
        entries = str(rule.keys[key]).split(",") if key in rule.keys else []
        if any(entry != entry.strip() for entry in entries):
            text = f"{key} of {rule.package} has blanks after its commas; diskimage-builder matches no such entry"
            yield warn("arch-blanks", key, text)
        for entry in (entry.strip() for entry in entries):
            if entry not in MACHINES:
                meant = canonical(entry)
                hint = f"did you mean {meant!r}?" if meant else nearest(entry, MACHINES)
                text = f"{key} of {rule.package} names {entry!r}, which no machine's ARCH is"
                yield warn("arch", key, text + (f"; {hint}" if hint else ""))
    if str(rule.keys.get("dib_python_version", 3)) not in ("2", "3"):
        text = f"{rule.package} is for Python {rule.keys['dib_python_version']}: dib_python_version is 2 or 3"
        yield warn("python-version", "dib_python_version", text)


def check_installs(element: Element) -> Iterator[Finding]:
    """What is wrong in the element's package-installs files; ``when`` is only parsed, no variable is asked for."""
    for file in (element.path / name for name in INSTALLS):
        if not file.is_file():
            continue
        twice: list[str] = []
        try:
            document = read_document(file, twice)
        except UsageError as error:
            yield refused(error, "package-installs", element.name, file)
            continue
        yield from _repeated(element.name, file, twice)
        try:
            for rule in rules(document):
                try:
                    check_rule(rule)
                except UsageError as error:
                    yield refused(error, "package-installs", element.name, file)
                    continue
                yield from _rule(element.name, file, rule)
        except UsageError as error:
            yield refused(error, "package-installs", element.name, file)


def check_old_installs(element: Element, paths: Mapping[str, Path]) -> Iterator[Finding]:
    """A warning for each list of packages in the old form, and for lines in it that are no package's name."""
    for path, file in paths.items():
        if not _OLD.match(path):
            continue
        text = "lists of this form are deprecated by diskimage-builder; package-installs.yaml says the same"
        yield Finding(WARNING, "old-package-installs", element.name, file, 0, text)


def _mistyped(
    element: str, file: Path, document: Document, name: object, names: set[str], *path: Hashable
) -> Iterator[Finding]:
    """A warning where a distribution's or family's name is nearly a known one: what is mapped there has no effect."""
    near = get_close_matches(str(name), sorted(names), n=1, cutoff=0.8)
    if near and name not in names:
        text = f"{name!r} is no distribution and no family; did you mean {near[0]!r}?"
        yield Finding(WARNING, "distribution", element, file, _line(document.where(*path)), text)


def check_map(element: Element) -> Iterator[Finding]:
    """What is wrong in the element's pkg-map: builds read YAML there, too; diskimage-builder only reads JSON."""
    file = element.path / "pkg-map"
    if not file.is_file():
        return
    twice: list[str] = []
    try:
        document = read_document(file, twice)
        check_pkg_map(document)
    except UsageError as error:
        yield refused(error, "pkg-map", element.name, file)
        return
    yield from _repeated(element.name, file, twice)
    data = document.data
    for section, names in (("family", set(FAMILIES.values())), ("distro", set(FAMILIES)), ("release", set(FAMILIES))):
        for name in data.get(section) or {}:
            yield from _mistyped(element.name, file, document, name, names, section, name)
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        text = f"this is YAML but no JSON, which is all that diskimage-builder reads here: {error.msg}"
        yield Finding(WARNING, "pkg-map-json", element.name, file, error.lineno, text)


def check_services(element: Element) -> Iterator[Finding]:
    """What is wrong in the element's svc-map."""
    file = element.path / "svc-map"
    if not file.is_file():
        return
    twice: list[str] = []
    try:
        document = read_document(file, twice)
    except UsageError as error:
        yield refused(error, "svc-map", element.name, file)
        return
    yield from _repeated(element.name, file, twice)
    for service, choices in document.data.items():
        if choices is not None and not isinstance(choices, dict):
            line = _line(document.where(service))
            yield Finding(ERROR, "svc-map", element.name, file, line, f"expected a mapping, found {choices!r}")
            continue
        for name in choices or {}:
            names = {"default", *FAMILIES, *FAMILIES.values()}
            yield from _mistyped(element.name, file, document, name, names, service, name)
