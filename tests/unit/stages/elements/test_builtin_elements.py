"""The built-in elements as files: complete, well formed, and commands that can be tried without a build."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from blockdev.core.errors import UsageError
from stages.element.hook_checks import oddity
from stages.element.hooks import SCRIPT_NAME, merge
from stages.element.package_installs import FAMILIES, package_installs, read_pkg_maps, render_pkg_map
from stages.element.resolve import BUILTIN, resolve
from tests.unit.stages.elements.builtin import (
    ELEMENTS,
    FROM_IMAGES,
    LAYOUTS,
    NAMES,
    NEEDED,
    SCRIPTS,
    SNIPPETS,
    SYSTEMS,
    label,
)


@pytest.mark.parametrize("name", NAMES)
def test_element_is_complete(name: str) -> None:
    folder = ELEMENTS[name].path
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {name}\n")
    assert len(readme.splitlines()) > 2, "says what it is for"
    for dependency in ELEMENTS[name].deps:
        assert dependency in ELEMENTS
    for file in ("element-deps", "element-provides"):
        if (folder / file).exists():
            lines = (folder / file).read_text(encoding="utf-8").splitlines()
            assert lines == sorted(lines)


@pytest.mark.parametrize("name", NAMES)
def test_readme_names_every_variable_of_the_user(name: str) -> None:
    """What an environment.d snippet gives a default (``X="${X:-..."``) is the user's to set: the README has it."""
    readme = (ELEMENTS[name].path / "README.md").read_text(encoding="utf-8")
    for snippet in ELEMENTS[name].path.glob("environment.d/*"):
        for variable, again in re.findall(r'(DIB_\w+)="\$\{(\w+):-', snippet.read_text(encoding="utf-8")):
            if variable == again:
                assert f"`{variable}`" in readme, f"{label(snippet)} has a default for {variable}"


@pytest.mark.parametrize("script", SCRIPTS, ids=label)
def test_script_is_named_and_executable(script: Path) -> None:
    assert SCRIPT_NAME.match(script.name)
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    if lines[0] == "#!/bin/bash":
        assert "set -eu -o pipefail" in lines
    else:
        assert lines[0] == "#!/bin/sh"
        assert "set -eu" in lines
    assert lines[1].startswith("# "), "a comment says what the script is for"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=label)
def test_snippet_is_not_executable(snippet: Path) -> None:
    assert snippet.suffix == ".bash"
    assert not os.access(snippet, os.X_OK)


# What answers with the distributions' own lists of mirrors, and servers that no list names.
HOSTS = {
    *("mirrors.fedoraproject.org", "riscv-koji.fedoraproject.org", "mirrors.centos.org", "mirrors.rockylinux.org"),
    *("mirrors.almalinux.org", "cdn-ubi.redhat.com"),
}


def test_no_mirror_is_named_but_the_distributions_own_lists() -> None:
    for path in BUILTIN.rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            for host in re.findall(r"://([\w.-]+)", path.read_text(encoding="utf-8")):
                assert host in HOSTS, f"{label(path)} names the host {host}"


def test_data_files_parse() -> None:
    for path in BUILTIN.rglob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8")), label(path)
    for path in BUILTIN.glob("*/pkg-map"):
        assert set(json.loads(path.read_text(encoding="utf-8"))) <= {"default", "family", "distro", "release"}


INIT = dict.fromkeys(("redhat", "suse", "arch"), "systemd")  # the package, by family
INIT |= {"debian": "systemd-sysv", "alpine": "openrc", "gentoo": "sys-apps/dbus"}  # (Gentoo's is in its stage 3)


@pytest.mark.parametrize(
    ("system", "layout"),
    [*((name, layout) for name in SYSTEMS for layout in LAYOUTS), *((name, LAYOUTS[0]) for name in FROM_IMAGES)],
)
def test_all_elements_fit_into_one_image(system: str, layout: str) -> None:
    """No two elements bring the same file, all scripts would run, and every package has a name."""
    elsewhere = set().union(*NEEDED.values()) - NEEDED[system]
    others = [name for name in NAMES if name not in elsewhere and (name not in LAYOUTS or name == layout)]
    elements = [(element.name, element.path) for element in resolve([system, *others], ELEMENTS).elements]
    assert [odd for hook in merge(elements).values() if (odd := oddity(hook))] == []
    distribution = system.removesuffix("-minimal").removesuffix("-container")
    environment = {"ARCH": "amd64", "DISTRO_NAME": distribution, "DIB_RELEASE": "any", "DIB_INIT_SYSTEM": "any"}
    environment["DIB_SOURCE_GIT"] = "full"  # (source-repositories/environment.d sets it)
    environment |= {"DIB_BOOTLOADER": "grub", "DIB_SKIP_GRUB_PACKAGE_INSTALL": "False"}  # (so does bootloader's)
    plan = package_installs(elements, environment)
    assert {"openssh-server", "openssh", "net-misc/openssh"} & set(plan["install.d"].install)
    assert INIT[FAMILIES[distribution]] in plan["install.d"].install


def test_two_systems_do_not_fit() -> None:
    with pytest.raises(UsageError, match="two operating systems"):
        resolve(SYSTEMS, ELEMENTS)


def hooks_with(folder: Path, command: str, tables: Mapping[str, str]) -> Path:
    """A hooks tree with one command and generated tables; returns the command."""
    (folder / "bin").mkdir()
    for path, text in tables.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return Path(shutil.copy2(BUILTIN / command, folder / "bin"))


def run(command: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of an element."""
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([command, *arguments], env=environment, capture_output=True, text=True, check=False)


PKG_MAP = {
    "default": {"server": "server", "none": "", "tool": "tool-default"},
    "family": {"debian": {"server": "server-daemon server-tools"}, "redhat": {"server": "serverd"}},
    "distro": {"debian": {"tool": "tool-debian"}},
    "release": {"debian": {"trixie": {"tool": "tool-trixie"}}},
}


def test_pkg_map_command(tmp_path: Path) -> None:
    command = hooks_with(tmp_path, "pkg-map/bin/pkg-map", {"pkg-map.d/it": render_pkg_map(PKG_MAP)})
    debian = {"DISTRO_NAME": "debian", "DIB_RELEASE": "trixie"}
    assert run(command, "--element", "it", "server", "tool", **debian).stdout.split() == [
        "server-daemon",
        "server-tools",
        "tool-trixie",
    ]
    assert run(command, "--element=it", "--release=sid", "tool", **debian).stdout == "tool-debian\n"
    assert run(command, "--element", "it", "--distro", "rocky", "server", "tool", **debian).stdout.split() == [
        "serverd",
        "tool-default",
    ]
    assert run(command, "--element", "it", "none", **debian).stdout == ""
    assert run(command, "--element", "it", "--prefix", "p-", "--missing-ok", "other", **debian).stdout == "p-other\n"
    unknown = run(command, "--element", "it", "other", "tool", **debian)
    assert (unknown.returncode, unknown.stdout) == (1, "tool-trixie\n")
    assert run(command, "--element", "no-such", "tool", **debian).returncode == 2
    assert run(command, "--element", "no-such", "--missing-ok", "tool", **debian).stdout == "tool\n"


def test_pkg_map_command_agrees_with_the_plan(tmp_path: Path) -> None:
    """`install-packages -m` inside a tree maps names as the plan does for package-installs."""
    elements = [(name, ELEMENTS[name].path) for name in NAMES]
    maps = read_pkg_maps(elements)
    tables = {f"pkg-map.d/{name}": render_pkg_map(data) for name, data in maps.items()}
    command = hooks_with(tmp_path, "pkg-map/bin/pkg-map", tables)
    for distribution in ("debian", "ubuntu"):
        environment = {"ARCH": "amd64", "DISTRO_NAME": distribution, "DIB_RELEASE": "any", "DIB_INIT_SYSTEM": "any"}
        environment |= {"DIB_BOOTLOADER": "grub", "DIB_SKIP_GRUB_PACKAGE_INSTALL": "False"}
        for name, folder in elements:
            if (folder / "package-installs.yaml").exists() and name in maps:
                entries = yaml.safe_load((folder / "package-installs.yaml").read_text(encoding="utf-8"))
                wanted = [key for key, entry in entries.items() if "DIB_BOOTLOADER = zipl" not in str(entry)]
                planned = package_installs([(name, folder)], environment)["install.d"].install
                mapped = run(command, "--element", name, *wanted, **environment)
                assert sorted(mapped.stdout.split()) == list(planned)


def test_svc_map_command(tmp_path: Path) -> None:
    command = hooks_with(tmp_path, "svc-map/bin/svc-map", {"svc-map.d/services": "web-server\tapache2\nother\tx\n"})
    assert run(command, "web-server", "no-such-service-here").stdout == "apache2\nno-such-service-here\n"
    assert run(command).returncode == 1


def test_install_packages_refuses_what_it_does_not_know() -> None:
    command = BUILTIN / "dpkg/bin/install-packages"
    assert run(command, "-x").returncode == 1
    nothing = run(command)
    assert (nothing.returncode, nothing.stdout) == (0, "install-packages: no packages to install\n")
