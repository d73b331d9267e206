"""Which packages a phase installs and removes, and under which names: package-installs, pkg-map, svc-map."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from stages.element.package_installs import package_installs, render_svc_map
from tests.differential.area import Area, write
from tests.differential.ask import Program
from tests.differential.compare import ANYTHING, REFUSED, UNFORETOLD, Answer, Example

PACKAGES = ["vim", "lvm2", "openssh", "apache", "kernel-tools"]
ELEMENTS = ["one", "two", "with-dash"]
DISTRIBUTIONS = [
    "debian",
    "ubuntu",
    "fedora",
    "centos",
    "rhel",
    "rocky",
    "almalinux",
    "openeuler",
    "opensuse",
    "gentoo",
]
FAMILIES = ["debian", "redhat", "suse", "gentoo"]
RELEASES = ["trixie", "9", "8-stream", "8", "noble"]
ARCHES = ["amd64", "arm64", "ppc64el"]
WHENS = ["DIB_X = 1", "DIB_X=1", "DIB_X != 1", "DIB_X!=1", "DIB_Y = two words", "DIB_X =  1", "DIB_Y!=", "DIB_Y ="]

_PHASES = st.sampled_from(["pre-install.d", "install.d", "post-install.d"])
_ARCH = st.sampled_from([*ARCHES, "amd64,arm64", "arm64,ppc64el", "ppc64el, amd64", "x86_64", "amd64,"])
_RULE = st.fixed_dictionaries(
    {},
    optional={
        "phase": _PHASES,
        "installtype": st.sampled_from(["source", "package"]),
        "when": st.one_of(
            st.sampled_from(WHENS), st.lists(st.sampled_from(WHENS), min_size=1, max_size=2), st.just("DIB_UNSET = 1")
        ),
        "dib_python_version": st.sampled_from([2, 3, "3"]),
    },
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """One rule, with an architecture or without, for a while or for good."""
    rule = dict(draw(_RULE))
    match draw(st.integers(0, 11)):
        case 0 | 1:
            rule["arch"] = draw(_ARCH)
        case 2 | 3:
            rule["not-arch"] = draw(_ARCH)
        case 4:
            rule["arch"] = rule["not-arch"] = draw(_ARCH)
    match draw(st.integers(0, 7)):
        case 0:
            rule["uninstall"] = draw(st.sampled_from([True, False, None]))
        case 1:
            rule["build-only"] = draw(st.sampled_from([True, False, None]))
    return rule


_GIVEN = st.one_of(st.none(), rules(), rules(), st.lists(rules(), max_size=2))
_INSTALLS = st.dictionaries(st.sampled_from(PACKAGES), _GIVEN, max_size=3)
_NAMES = st.dictionaries(
    st.sampled_from(PACKAGES), st.sampled_from(["", "mapped", "two words", "other-name", "vim"]), max_size=3
)
_PKG_MAP = st.fixed_dictionaries(
    {},
    optional={
        "default": _NAMES,
        "family": st.dictionaries(st.sampled_from(FAMILIES), _NAMES, max_size=2),
        "distro": st.dictionaries(st.sampled_from(DISTRIBUTIONS), _NAMES, max_size=2),
        "release": st.dictionaries(
            st.sampled_from(DISTRIBUTIONS), st.dictionaries(st.sampled_from(RELEASES), _NAMES, max_size=2), max_size=2
        ),
    },
)
_SVC_MAP = st.dictionaries(
    st.sampled_from(["ssh", "ntp", "web"]),
    st.dictionaries(
        st.sampled_from(["default", *DISTRIBUTIONS, *FAMILIES]), st.sampled_from(["sshd", "ntpd", "s"]), max_size=3
    ),
    max_size=1,
)
_FORMS: dict[str, Callable[[Any], str]] = {
    "package-installs.yaml": yaml.safe_dump,
    "package-installs.json": json.dumps,
    "pkg-map": json.dumps,
    "svc-map": yaml.safe_dump,
}


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Elements with their files, and variables."""
    elements = {}
    for name in draw(st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=3, unique=True)):
        files = draw(
            st.fixed_dictionaries(
                {"package-installs.yaml": _INSTALLS},
                optional={"package-installs.json": _INSTALLS, "pkg-map": _PKG_MAP, "svc-map": _SVC_MAP},
            )
        )
        elements[name] = files
    variables = {
        "ARCH": draw(st.sampled_from(ARCHES)),
        "DISTRO_NAME": draw(st.sampled_from(DISTRIBUTIONS)),
        "DIB_RELEASE": draw(st.sampled_from(RELEASES)),
        "DIB_X": draw(st.sampled_from(["1", "0", ""])),
        "DIB_Y": draw(st.sampled_from(["two words", ""])),
    }
    for name, values in (
        ("DIB_PYTHON_VERSION", ["2", "3"]),
        ("DIB_DEFAULT_INSTALLTYPE", ["source", "package"]),
        ("DIB_INSTALLTYPE_with_dash", ["source", "package"]),
    ):
        if draw(st.booleans()):
            variables[name] = draw(st.sampled_from(values))
    return {"elements": elements, "environment": variables}


def both(example: Example, program: Program, folder: Path) -> tuple[Answer, Answer]:
    """What the two say."""
    path = folder / "elements"
    texts = {
        name: {file: content if isinstance(content, str) else _FORMS[file](content) for file, content in files.items()}
        for name, files in example["elements"].items()
    }
    write(path, texts)
    names, variables = sorted(texts), example["environment"]
    theirs = program.ask(
        "packages",
        work=str(folder),
        path=[str(path)],
        order=names,
        folders={name: str(path / name) for name in names},
        environment=variables,
    )
    services = program.ask(
        "services", folders=[str(path / name) for name in names], distribution=variables["DISTRO_NAME"]
    )
    folders = [(name, path / name) for name in names]
    return _joined(theirs, services), _ours(folders, variables)


def _joined(packages: Answer, services: Answer) -> Answer:
    if "any" in packages:
        return {"any": [_joined(one, services) for one in packages["any"]]}
    refused = [one for one in (packages, services) if "refused" in one]
    return refused[0] if refused else {**packages, **services}


def _ours(folders: list[tuple[str, Path]], variables: Mapping[str, str]) -> Answer:
    try:
        found = package_installs(folders, variables)
        lines = render_svc_map(folders, variables["DISTRO_NAME"])
    except UsageError as error:
        return {"refused": str(error)}
    services = dict(line.split("\t") for line in lines.splitlines())
    phases = {phase: [sorted(one.install), sorted(one.uninstall)] for phase, one in found.items()}
    return {"phases": phases, "elsewhere": [], "services": services}


def _rules(example: Example) -> list[dict[str, Any]]:
    return [
        rule
        for files in example["elements"].values()
        for file in ("package-installs.yaml", "package-installs.json")
        for given in files.get(file, {}).values()
        for rule in (given if isinstance(given, list) else [given])
        if isinstance(rule, dict)
    ]


def arch_and_not_arch(example: Example, theirs: Answer) -> Answer | None:
    """A rule with both is wrong whatever else it says: diskimage-builder sees it only where it comes so far."""
    return REFUSED if any("arch" in rule and "not-arch" in rule for rule in _rules(example)) else None


def arch_with_blanks(example: Example, theirs: Answer) -> Answer | None:
    """A blank after a comma belongs to the architecture's name in diskimage-builder, which so matches none."""
    given = [str(rule.get(key, "")) for rule in _rules(example) for key in ("arch", "not-arch")]
    if not any(", " in text for text in given):
        return None
    if any("DIB_UNSET" in str(rule) for rule in _rules(example)):  # one of the two alone may come to that condition
        return UNFORETOLD
    return {**theirs, "phases": ANYTHING} if "phases" in theirs else None


REASONS = {
    "arch-and-not-arch": arch_and_not_arch,
    "arch-with-blanks": arch_with_blanks,
}
AREA = Area("packages", 25, examples(), both, REASONS)
