"""Which packages each phase installs and removes, and under which names: package-installs, pkg-map and svc-map.

All three are decided at plan time from the elements' files and the captured environment, so that no interpreter is
needed in the tree; what the tree's own commands need is rendered as plain tables (see :func:`render_pkg_map`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockdev.core import yaml_document
from blockdev.core.errors import UsageError
from blockdev.core.yaml_document import Document

_CONDITION = re.compile(r"\s*(\w+)\s*(!?=)(.*)\Z", re.DOTALL)
SECTIONS = ("default", "family", "distro", "release")
PHASES = ("pre-install.d", "install.d", "post-install.d")
OLD_LIST = "package-installs-"
FAMILIES = {
    "almalinux": "redhat",
    "centos": "redhat",
    "fedora": "redhat",
    "openeuler": "redhat",
    "rhel": "redhat",
    "rocky": "redhat",
    "debian": "debian",
    "ubuntu": "debian",
    "opensuse": "suse",
    "gentoo": "gentoo",
    "arch": "arch",
    "alpine": "alpine",
}


# svc-map's table is an older one of DIB's.
_NOT_FOR_SERVICES = ("almalinux", "openeuler", "rocky")
SERVICE_FAMILIES = {name: family for name, family in FAMILIES.items() if name not in _NOT_FOR_SERVICES}


@dataclass(frozen=True)
class PhasePackages:
    """The distribution's package names that one phase installs at its start and removes at its end."""

    install: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()


def read_document(file: Path, twice: list[str] | None = None) -> Document:
    """A mapping from a YAML or JSON file, with its lines; an empty file is an empty mapping.

    ``twice`` gets a sentence for each repeated key (the last one counts, as for DIB). Raises UsageError with file and
    line for what is neither YAML nor JSON, and for anything but a mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"this file cannot be read: {error}", where=str(file)) from error
    try:
        document = yaml_document.read(text, str(file), twice=[] if twice is None else twice)
    except UsageError as error:
        try:
            document = Document(
                yaml_document.json_of(text, str(file)), {}, str(file)
            )  # tabs, for one, are JSON's but not YAML's
        except json.JSONDecodeError as at:
            what, where, kind = error.what, error.where, "YAML"
            if file.suffix == ".json" or file.name == "pkg-map":
                what, where, kind = f"this is no JSON: {at.msg}", f"{file}:{at.lineno}", "JSON"
            raise UsageError(f"this file cannot be read: {what}", where=where, hint=f"correct the {kind}") from error
    if document.data is None:
        return Document({}, document.lines, document.file)
    if not isinstance(document.data, dict):
        type_name = type(document.data).__name__
        document.refuse(f"expected a mapping, found {type_name}", hint="see docs/elements.md")
    return document


def _mapping(file: Path) -> dict[str, Any]:
    return {str(key): value for key, value in read_document(file).data.items()}


@dataclass(frozen=True)
class Rule:
    """One rule of a ``package-installs`` file: a package and under which circumstances; ``path`` leads to its lines."""

    package: str
    keys: Mapping[str, Any]
    document: Document
    path: tuple[Hashable, ...]

    def where(self, *keys: Hashable) -> str:
        """``file:line`` of the rule, of one of its keys, or of an item of a key's list."""
        path = (*self.path, *keys)
        while path not in self.document.lines and len(path) > len(self.path):
            path = path[:-1]
        return self.document.where(*path)


def rules(document: Document) -> Iterator[Rule]:
    """All rules of a ``package-installs`` file; UsageError for one that is not a mapping.

    A package with nothing behind it, however that is written (``[]``, ``''``, ``false``, ``0``), has one rule.
    """
    for package, value in document.data.items():
        several = isinstance(value, list) and bool(value)
        for index, keys in enumerate(value if several else [value or {}]):
            path = (package, index) if several else (package,)
            if keys is not None and not isinstance(keys, dict):
                document.refuse(f"expected a mapping, found {keys!r}", *path)
            yield Rule(str(package), keys or {}, document, path)


def check_rule(rule: Rule) -> None:
    """Refuse what no environment makes sense of: ``arch`` with ``not-arch``, a malformed ``when``, lists as texts."""
    for key in ("phase", "arch", "not-arch", "installtype", "dib_python_version"):
        if isinstance(rule.keys.get(key), (list, dict)):
            what = f"{key} is {rule.keys[key]!r}, not a text"
            raise UsageError(what, where=rule.where(key), hint="several machines stand in one text: arch: amd64,arm64")
    if "arch" in rule.keys and "not-arch" in rule.keys:
        raise UsageError("both arch and not-arch are given", where=rule.where("not-arch"), hint="keep one of them")
    for index, condition in enumerate(conditions(rule)):
        _parsed(condition, rule, index)


def conditions(rule: Rule) -> list[str]:
    """The ``when`` of a rule as a list of conditions, all of which must hold."""
    value = rule.keys.get("when", [])
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise UsageError(f"the condition {value!r} is neither a text nor a list of texts", where=rule.where("when"))
    return [str(condition) for condition in value]


def _words(value: object) -> list[str]:
    return [word.strip() for word in str(value).split(",")]


def _parsed(text: str, rule: Rule, index: int) -> tuple[str, bool, str]:
    """One ``when`` condition, ``VAR = value`` or ``VAR != value``: the name, whether it is negated, the value."""
    match = _CONDITION.match(text)
    if match is None:
        raise UsageError(
            f"the condition {text!r} is neither 'VAR = value' nor 'VAR != value'", where=rule.where("when", index)
        )
    return match[1], match[2] == "!=", match[3].strip()


def _holds(text: str, environment: Mapping[str, str], rule: Rule, index: int) -> bool:
    name, negated, value = _parsed(text, rule, index)
    if name not in environment:
        raise UsageError(
            f"the condition {text!r} names {name}, which is not set",
            where=rule.where("when", index),
            hint=f"--set {name}=...",
        )
    return (environment[name] == value) != negated


def _applies(rule: Rule, element: str, environment: Mapping[str, str]) -> bool:
    keys, arch = rule.keys, environment.get("ARCH", "")
    if "arch" in keys and arch not in _words(keys["arch"]):
        return False
    if "not-arch" in keys and arch in _words(keys["not-arch"]):
        return False
    if "installtype" in keys:
        default = environment.get("DIB_DEFAULT_INSTALLTYPE", "source")
        if str(keys["installtype"]) != environment.get("DIB_INSTALLTYPE_" + element.replace("-", "_"), default):
            return False
    if "dib_python_version" in keys and str(keys["dib_python_version"]) != environment.get("DIB_PYTHON_VERSION", ""):
        return False
    return all(_holds(text, environment, rule, index) for index, text in enumerate(conditions(rule)))


def pkg_map(data: Mapping[str, Any], distribution: str, release: str) -> dict[str, str]:
    """The effective mapping of one pkg-map file: default, family, distro, release; the later wins for each package."""
    short = release.removesuffix("-stream") if release == "8-stream" else release
    merged: dict[str, str] = {}
    for layer in (
        data.get("default", {}),
        data.get("family", {}).get(FAMILIES.get(distribution, ""), {}),
        data.get("distro", {}).get(distribution, {}),
        data.get("release", {}).get(distribution, {}).get(short, {}),
    ):
        merged.update({str(key): str(value) for key, value in layer.items()})
    return merged


def _resolve_names(
    requests: Iterable[tuple[str, str]], maps: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]
) -> tuple[str, ...]:
    distribution, release = environment.get("DISTRO_NAME", ""), environment.get("DIB_RELEASE", "")
    names: dict[str, None] = {}
    for package, element in requests:
        mapping = pkg_map(maps[element], distribution, release) if element in maps else {}
        names.update(dict.fromkeys(mapping.get(package, package).split()))
    return tuple(sorted(names))


def check_pkg_map(document: Document) -> None:
    """Refuse what is no pkg-map: unknown sections, and anything but mappings from names to texts in them."""
    for section, content in document.data.items():
        if section not in SECTIONS:
            document.refuse(f"the section {section!r} is not one of pkg-map's", section, hint=", ".join(SECTIONS))
        for path, mapping in _name_maps(document, section, content):
            if not isinstance(mapping, dict):
                document.refuse(f"expected a mapping, found {mapping!r}", *path)
            for package, value in mapping.items():
                if isinstance(value, (dict, list)) or value is None:
                    document.refuse(f"the name for {package!r} is {value!r}, not a text", *path, package)


def _name_maps(document: Document, section: str, content: Any) -> list[tuple[tuple[Hashable, ...], Any]]:
    """Where in a section mappings from package to package are, by its depth: 0, 1 or (release) 2 keys below."""
    maps: list[tuple[tuple[Hashable, ...], Any]] = [((section,), content)]
    for _ in range({"default": 0, "family": 1, "distro": 1, "release": 2}[section]):
        deeper: list[tuple[tuple[Hashable, ...], Any]] = []
        for path, mapping in maps:
            if not isinstance(mapping, dict):
                document.refuse(f"expected a mapping, found {mapping!r}", *path)
            deeper += [((*path, key), value) for key, value in mapping.items()]
        maps = deeper
    return maps


def read_pkg_maps(elements: Sequence[tuple[str, Path]]) -> dict[str, dict[str, Any]]:
    """The pkg-map files of the elements that have one, by element; UsageError with file and line for a bad one."""
    maps = {}
    for element, folder in elements:
        file = folder / "pkg-map"
        if file.is_file():
            document = read_document(file)
            check_pkg_map(document)
            maps[element] = {str(key): value for key, value in document.data.items()}
    return maps


@dataclass(frozen=True)
class OldList:
    """A file ``PHASE.d/package-installs-NAME``, the form that diskimage-builder deprecates: a package a line.

    ``name`` is the element whose pkg-map counts. What begins with - is installed and removed at the phase's end.
    """

    phase: str
    name: str
    install: tuple[str, ...]
    uninstall: tuple[str, ...]


def old_lists(folder: Path) -> Iterator[OldList]:
    """The lists of the old form in an element's folder."""
    for phase in PHASES:
        for file in sorted((folder / phase).glob(f"{OLD_LIST}*")):
            if file.is_file():
                lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
                lines = [line for line in lines if line and not line.startswith("#")]
                removed = [line[1:] for line in lines if line.startswith("-")]
                words = [word for line in lines for word in line.removeprefix("-").split()]
                gone = [word for line in removed for word in line.split()]
                yield OldList(phase, file.name.removeprefix(OLD_LIST), tuple(words), tuple(gone))


def _all_rules(elements: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Rule]]:
    """All rules of the elements' ``package-installs`` files, each with its element's name."""
    for element, folder in elements:
        for file in (folder / "package-installs.json", folder / "package-installs.yaml"):
            if file.is_file():
                for rule in rules(read_document(file)):
                    yield element, rule


def asked_variables(elements: Sequence[tuple[str, Path]]) -> set[str]:
    """The variables that the conditions in the elements' ``package-installs`` files name; UsageError for odd ones."""
    return {
        _parsed(text, rule, index)[0] for _, rule in _all_rules(elements) for index, text in enumerate(conditions(rule))
    }


class _Asked:
    """The packages of one phase, each with its element, while rules are read one after another.

    As in DIB, a rule that keeps a package takes back what removes it so far, whether or not the rule applies; and one
    that removes it counts for nothing while it is among what is installed to stay.
    """

    def __init__(self) -> None:
        self.install: list[tuple[str, str]] = []
        self.uninstall: list[tuple[str, str]] = []

    def add(self, element: str, rule: Rule, environment: Mapping[str, str]) -> None:
        """Take one more rule."""
        name, keys = rule.package, rule.keys
        lists = [] if "uninstall" in keys and "build-only" not in keys else [self.install]
        if "uninstall" in keys or "build-only" in keys:
            if not (_has(self.install, name) and not _has(self.uninstall, name)):
                lists.append(self.uninstall)
        else:
            self.uninstall = [each for each in self.uninstall if each[0] != name]
        if lists and _applies(rule, element, environment):
            for each in lists:
                each.append((name, element))


def _has(asked: Iterable[tuple[str, str]], name: str) -> bool:
    return any(package == name for package, _ in asked)


def package_installs(elements: Sequence[tuple[str, Path]], environment: Mapping[str, str]) -> dict[str, PhasePackages]:
    """What ``package-installs.yaml``/``.json`` of the elements ask for, by phase folder, under the tree's own names.

    With the lists of the old form (:class:`OldList`).
    Raises UsageError naming the file for what cannot be understood.
    """
    by_phase = {phase: _Asked() for phase in PHASES}
    for element, rule in _all_rules(elements):
        check_rule(rule)
        phase = str(rule.keys.get("phase", "install.d"))
        if phase in PHASES:
            by_phase[phase].add(element, rule, environment)
    maps = read_pkg_maps(elements)
    listed = [each for _, folder in elements for each in old_lists(folder)]
    for each in listed:
        by_phase[each.phase].install += [(package, each.name) for package in each.install]
        by_phase[each.phase].uninstall += [(package, each.name) for package in each.uninstall]
    return {
        phase: PhasePackages(
            _resolve_names(asked.install, maps, environment), _resolve_names(asked.uninstall, maps, environment)
        )
        for phase, asked in by_phase.items()
    }


def render_pkg_map(data: Mapping[str, Any]) -> str:
    """One pkg-map file as lines ``SECTION<TAB>KEY<TAB>PACKAGE<TAB>VALUE``, sorted, for the ``pkg-map`` command."""
    rows = []
    for name, value in data.get("default", {}).items():
        rows.append(("default", "-", name, value))
    for section in ("family", "distro"):
        for key, mapping in data.get(section, {}).items():
            rows.extend((section, key, name, value) for name, value in mapping.items())
    for distribution, releases in data.get("release", {}).items():
        for release, mapping in releases.items():
            rows.extend(("release", f"{distribution} {release}", name, value) for name, value in mapping.items())
    return "".join("\t".join(str(cell) for cell in row) + "\n" for row in sorted(rows, key=str))


def render_svc_map(elements: Sequence[tuple[str, Path]], distribution: str) -> str:
    """All svc-map files as lines ``SERVICE<TAB>NAME`` resolved for one distribution (distro, family, default)."""
    names: dict[str, tuple[str, Path]] = {}
    for _, folder in elements:
        file = folder / "svc-map"
        if not file.is_file():
            continue
        document = read_document(file)
        for service, choices in document.data.items():
            if service in names:
                raise UsageError(
                    f"the service {service!r} is mapped twice",
                    where=document.where(service),
                    hint=f"it is in {names[service][1]}, too",
                )
            if choices is not None and not isinstance(choices, dict):
                document.refuse(f"expected a mapping, found {choices!r}", service)
            choices = choices or {}
            family = SERVICE_FAMILIES.get(distribution, "")
            name = choices.get(distribution, choices.get(family, choices.get("default", service)))
            names[service] = (str(name), file)
    return "".join(f"{service}\t{name}\n" for service, (name, _) in sorted(names.items()))
