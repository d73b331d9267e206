"""Which packages each phase installs and removes, and under which names: package-installs, pkg-map and svc-map.

All three are decided at plan time from the elements' files and the captured environment, so that no interpreter is
needed in the tree; what the tree's own commands need is rendered as plain tables (see :func:`render_pkg_map`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.errors import UsageError

PHASES = ("pre-install.d", "install.d", "post-install.d")
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
}


@dataclass(frozen=True)
class PhasePackages:
    """The distribution's package names that one phase installs at its start and removes at its end."""

    install: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()


def _load(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"this file cannot be read: {problem}", where=place, hint="correct the YAML") from error


def _mapping(file: Path) -> dict[str, Any]:
    data = _load(file)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(
            f"expected a mapping, found {type(data).__name__}", where=str(file), hint="see docs/elements.md"
        )
    return {str(key): value for key, value in data.items()}


def _words(value: object) -> list[str]:
    return [word.strip() for word in str(value).split(",")]


def _condition(text: str, environment: Mapping[str, str], where: str) -> bool:
    """One ``when`` condition: ``VAR = value`` or ``VAR != value``."""
    left, operator, right = text.partition("=")
    negated = left.endswith("!")
    name = left.rstrip("!").strip()
    if not operator or not name:
        raise UsageError(f"the condition {text!r} is neither 'VAR = value' nor 'VAR != value'", where=where)
    if name not in environment:
        raise UsageError(
            f"the condition {text!r} names {name}, which is not set", where=where, hint=f"--set {name}=..."
        )
    return (environment[name] == right.strip()) != negated


def _wanted(rule: Mapping[str, Any], element: str, environment: Mapping[str, str], where: str) -> bool:
    arch = environment.get("ARCH", "")
    if "arch" in rule and "not-arch" in rule:
        raise UsageError("both arch and not-arch are given", where=where, hint="keep one of them")
    if "arch" in rule and arch not in _words(rule["arch"]):
        return False
    if "not-arch" in rule and arch in _words(rule["not-arch"]):
        return False
    if "installtype" in rule:
        default = environment.get("DIB_DEFAULT_INSTALLTYPE", "source")
        if str(rule["installtype"]) != environment.get("DIB_INSTALLTYPE_" + element.replace("-", "_"), default):
            return False
    if "dib_python_version" in rule and str(rule["dib_python_version"]) != environment.get("DIB_PYTHON_VERSION", ""):
        return False
    conditions = rule.get("when", [])
    if isinstance(conditions, str):
        conditions = [conditions]
    return all(_condition(str(condition), environment, where) for condition in conditions)


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


def read_pkg_maps(elements: Sequence[tuple[str, Path]]) -> dict[str, dict[str, Any]]:
    """The pkg-map files of the elements that have one, by element."""
    maps = {}
    for element, folder in elements:
        file = folder / "pkg-map"
        if file.is_file():
            data = _mapping(file)
            for section, content in data.items():
                if section not in ("default", "family", "distro", "release") or not isinstance(content, dict):
                    raise UsageError(f"the section {section!r} is not one of pkg-map's", where=str(file))
            maps[element] = data
    return maps


def package_installs(elements: Sequence[tuple[str, Path]], environment: Mapping[str, str]) -> dict[str, PhasePackages]:
    """What ``package-installs.yaml``/``.json`` of the elements ask for, by phase folder, under the tree's own names.

    Raises UsageError naming the file for what cannot be understood.
    """
    installs: dict[str, list[tuple[str, str]]] = {phase: [] for phase in PHASES}
    removals: dict[str, list[tuple[str, str]]] = {phase: [] for phase in PHASES}
    plain: dict[str, set[str]] = {phase: set() for phase in PHASES}  # asked for by somebody who wants to keep it
    for element, folder in elements:
        for file in (folder / "package-installs.json", folder / "package-installs.yaml"):
            if not file.is_file():
                continue
            for package, rules in _mapping(file).items():
                for rule in rules if isinstance(rules, list) else [rules]:
                    where = f"{file} ({package})"
                    if rule is not None and not isinstance(rule, dict):
                        raise UsageError(f"expected a mapping, found {rule!r}", where=where)
                    rule = rule or {}
                    phase = str(rule.get("phase", "install.d"))
                    if phase not in PHASES or not _wanted(rule, element, environment, where):
                        continue
                    if "uninstall" not in rule:
                        installs[phase].append((package, element))
                    if "uninstall" in rule or "build-only" in rule:
                        removals[phase].append((package, element))
                    else:
                        plain[phase].add(package)
    maps = read_pkg_maps(elements)
    plan = {}
    for phase in PHASES:
        gone = [(name, element) for name, element in removals[phase] if name not in plain[phase]]
        plan[phase] = PhasePackages(
            _resolve_names(installs[phase], maps, environment), _resolve_names(gone, maps, environment)
        )
    return plan


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
        for service, choices in _mapping(file).items():
            if service in names:
                raise UsageError(f"the service {service!r} is mapped twice", where=f"{file} and {names[service][1]}")
            choices = choices or {}
            family = FAMILIES.get(distribution, "")
            name = choices.get(distribution, choices.get(family, choices.get("default", service)))
            names[service] = (str(name), file)
    return "".join(f"{service}\t{name}\n" for service, (name, _) in sorted(names.items()))
