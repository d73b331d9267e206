"""The built-in elements as files: complete, well formed, and working where a script can be tried without a build."""

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

from blockdev.configuration.read import read as read_configuration
from blockdev.configuration.source import find as find_configuration
from blockdev.core.errors import UsageError
from stages.element.hook_checks import oddity
from stages.element.hooks import PHASE_FOLDERS, SCRIPT_NAME, merge
from stages.element.package_installs import FAMILIES, package_installs, read_pkg_maps, render_pkg_map
from stages.element.resolve import BUILTIN, OPERATING_SYSTEM, find_elements, resolve

ELEMENTS = find_elements([BUILTIN])
NAMES = sorted(ELEMENTS)
FROM_IMAGE = ("base-image", "containerfile")  # any distribution's
SYSTEMS = tuple(name for name in NAMES if OPERATING_SYSTEM in ELEMENTS[name].provides and name not in FROM_IMAGE)
FROM_IMAGES = tuple(name for name in NAMES if FROM_IMAGE[1] in ELEMENTS[name].deps)
# What belongs to the distributions of a family: all that its operating systems' elements need.
NEEDED = {system: set(resolve([system], ELEMENTS).names) for system in (*SYSTEMS, *FROM_IMAGES)}
LAYOUTS = tuple(name for name in NAMES if "block-device" in ELEMENTS[name].provides)
SCRIPTS = sorted(
    path
    for path in BUILTIN.rglob("*")
    if path.is_file() and path.relative_to(BUILTIN).parts[1] in {*PHASE_FOLDERS, "bin", "machine.d"}
)
SNIPPETS = sorted([*BUILTIN.glob("*/environment.d/*"), *BUILTIN.glob("*/bootloader.d/*")])
MIRRORS = {
    "DIB_CTR_DEBIAN_MIRROR": "http://mirror.invalid/debian",
    "DIB_CTR_DEBIAN_SECURITY_MIRROR": "http://mirror.invalid/debian-security",
    "DIB_CTR_UBUNTU_MIRROR": "http://mirror.invalid/ubuntu",
}


def label(path: Path) -> str:
    """A script as its element and name."""
    return path.relative_to(BUILTIN).as_posix()


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


def test_no_registry_host_is_named() -> None:
    for path in BUILTIN.rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            for host in re.findall(r"://([\w.-]+)", path.read_text(encoding="utf-8")):
                pytest.fail(f"{label(path)} names the host {host}")


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


def source(snippet: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Source a snippet as a build does and print the exported variables."""
    command = f"set -ue -o pipefail; source {BUILTIN / snippet}; env"
    return subprocess.run(
        ["/bin/bash", "-c", command],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def sources_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of DIB_APT_SOURCES_CONF that a snippet exported."""
    assert result.returncode == 0, result.stderr
    text = result.stdout.split("DIB_APT_SOURCES_CONF=", 1)[1]
    return [line for line in text.splitlines() if ":deb " in line]


DEBIAN = "debian-minimal/environment.d/10-debian-minimal.bash"
UBUNTU = "ubuntu-minimal/environment.d/10-ubuntu-minimal.bash"


def test_debian_sources() -> None:
    assert sources_of(source(DEBIAN, MIRRORS)) == [
        "default:deb http://mirror.invalid/debian trixie main",
        "updates:deb http://mirror.invalid/debian trixie-updates main",
        "security:deb http://mirror.invalid/debian-security trixie-security main",
    ]
    chosen = {
        "DIB_RELEASE": "bookworm",
        "DIB_DISTRIBUTION_MIRROR": "http://second.invalid/debian",
        "DIB_DEBIAN_DISTRIBUTION_MIRROR": "http://first.invalid/debian",
        "DIB_DEBIAN_SECURITY_MIRROR": "http://first.invalid/security",
        "DIB_DEBIAN_COMPONENTS": "main,contrib",
    }
    assert sources_of(source(DEBIAN, {**MIRRORS, **chosen})) == [
        "default:deb http://first.invalid/debian bookworm main contrib",
        "updates:deb http://first.invalid/debian bookworm-updates main contrib",
        "security:deb http://first.invalid/security bookworm-security main contrib",
    ]


@pytest.mark.parametrize("release", ["testing", "unstable", "sid"])
def test_rolling_debian_has_one_source(release: str) -> None:
    lines = sources_of(
        source(DEBIAN, {"DIB_RELEASE": release, "DIB_CTR_DEBIAN_MIRROR": "http://mirror.invalid/debian"})
    )
    assert lines == [f"default:deb http://mirror.invalid/debian {release} main"]


def test_ubuntu_sources() -> None:
    assert sources_of(source(UBUNTU, MIRRORS)) == [
        "default:deb http://mirror.invalid/ubuntu noble main universe",
        "updates:deb http://mirror.invalid/ubuntu noble-updates main universe",
        "security:deb http://mirror.invalid/ubuntu noble-security main universe",
        "backports:deb http://mirror.invalid/ubuntu noble-backports main universe",
    ]


@pytest.mark.parametrize(
    ("release", "file"), [("jammy", ""), ("noble", "ubuntu.sources"), ("resolute", "ubuntu.sources")]
)
def test_later_ubuntus_have_their_sources_in_one_file(release: str, file: str) -> None:
    said = source(UBUNTU, {**MIRRORS, "DIB_RELEASE": release}).stdout
    assert (f"DIB_CTR_APT_SOURCES_FILE={file}" in said) is bool(file)


def test_a_snapshots_addresses_leave_the_sources(tmp_path: Path) -> None:
    """In both forms that a file of sources has, with a slash behind the address and without."""
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    one_line, paragraph = "deb [signed-by=/k] {0} noble main\ndeb {0}/ noble main\n", "URIs: {0}\nURIs: {0}/\n"
    for name, text in (("a.list", one_line), ("b.sources", paragraph)):
        (folder / name).write_text(text.format("http://snapshot.invalid/1"))
    variables = {
        "TARGET_ROOT": str(tmp_path),
        "DIB_CTR_SNAPSHOT_ADDRESSES": "http://a.invalid http://snapshot.invalid/1",
    }
    script = BUILTIN / "dpkg/cleanup.d/60-undo-build-settings"
    subprocess.run([script], env={"PATH": os.environ["PATH"], **variables}, check=True)
    assert (folder / "a.list").read_text() == one_line.format("http://a.invalid")
    assert (folder / "b.sources").read_text() == paragraph.format("http://a.invalid")


def test_given_sources_are_taken_as_they_are() -> None:
    given = {"DIB_APT_SOURCES_CONF": "mine:deb http://mirror.invalid/x suite main"}
    for snippet in (DEBIAN, UBUNTU):
        assert sources_of(source(snippet, given)) == [given["DIB_APT_SOURCES_CONF"]]


@pytest.mark.parametrize(
    ("snippet", "variables", "named"),
    [
        (DEBIAN, {}, "DIB_DISTRIBUTION_MIRROR"),
        (DEBIAN, {"DIB_DISTRIBUTION_MIRROR": "http://mirror.invalid/debian"}, "DIB_DEBIAN_SECURITY_MIRROR"),
        (UBUNTU, {}, "DIB_DISTRIBUTION_MIRROR"),
    ],
)
def test_a_missing_mirror_is_named(snippet: str, variables: dict[str, str], named: str) -> None:
    result = source(snippet, variables)
    assert result.returncode != 0
    assert f"set {named}" in result.stderr


RAMDISK = "ramdisk-base/environment.d/20-ramdisk-base.bash"


@pytest.mark.parametrize(
    ("arch", "kernel"),
    [("amd64", "linux-image-amd64"), ("armhf", "linux-image-armmp"), ("ppc64el", "linux-image-powerpc64le")],
)
def test_kernel_of_the_architecture(arch: str, kernel: str) -> None:
    result = source("linux-image/environment.d/15-linux-image.bash", {"DISTRO_NAME": "debian", "ARCH": arch})
    assert f"DIB_LINUX_IMAGE={kernel}\n" in result.stdout
    for snippet, name in (("vm/environment.d/20-vm.bash", "VM"), (RAMDISK, "RAMDISK")):
        found = source(snippet, {"DIB_LINUX_IMAGE": kernel})
        assert f"DIB_{name}_KERNEL={kernel}\n" in found.stdout
        unknown = source(snippet, {"DIB_LINUX_IMAGE": ""})
        assert unknown.returncode == 1
        assert f"set DIB_{name}_KERNEL" in unknown.stderr


def test_ubuntus_kernel_comes_with_what_makes_its_ram_disk() -> None:
    variables = {"DISTRO_NAME": "ubuntu", "ARCH": "amd64"}
    snippet = "linux-image/environment.d/15-linux-image.bash"
    assert "DIB_LINUX_IMAGE=linux-image-generic initramfs-tools\n" in source(snippet, variables).stdout
    chosen = source(snippet, {**variables, "DIB_UBUNTU_KERNEL": "linux-image-virtual"})
    assert "DIB_LINUX_IMAGE=linux-image-virtual initramfs-tools\n" in chosen.stdout


@pytest.mark.parametrize(("release", "kernel"), [("bookworm", "linux-image-686-pae"), ("trixie", "")])
def test_debian_has_no_kernel_for_i386_any_more(release: str, kernel: str) -> None:
    known = {"DISTRO_NAME": "debian", "ARCH": "i386", "DIB_RELEASE": release}
    assert f"DIB_LINUX_IMAGE={kernel}\n" in source("linux-image/environment.d/15-linux-image.bash", known).stdout


LAYOUT = "{}/environment.d/15-block-device.bash"
LOADER = "bootloader/environment.d/50-bootloader.bash"


@pytest.mark.parametrize(
    ("name", "arch", "said"),
    [
        ("block-device-mbr", "arm64", "arm64 boots by UEFI"),
        ("block-device-gpt", "aarch64", "use block-device-efi."),
        ("block-device-efi", "ppc64el", "does not boot by UEFI"),
        ("block-device-efi-4k", "ppc64", "use block-device-gpt."),
        ("block-device-efi-lvm", "ppc64le", "block-device-efi-lvm: ppc64le"),
        ("block-device-hybrid", "ppc64el", "use block-device-gpt."),
    ],
)
def test_a_layout_refuses_an_architecture_that_it_cannot_boot(name: str, arch: str, said: str) -> None:
    result = source(LAYOUT.format(name), {"ARCH": arch})
    assert result.returncode != 0
    assert said in result.stderr
    allowed = source(LAYOUT.format(name), {"ARCH": "amd64"})
    assert re.search(r"^DIB_BLOCK_DEVICE=(mbr|gpt|efi|hybrid)$", allowed.stdout, re.MULTILINE)


# What each layout has beside its root, by the architectures that take it.
UEFI = {"ESP": "550MiB", "BSP": "8MiB"}
PARTITIONS: dict[tuple[str, str], dict[str, str]] = {
    ("block-device-mbr", "amd64"): {},
    ("block-device-mbr", "ppc64el"): {"boot": "8MiB"},
    ("block-device-mbr", "s390x"): {"zipl": "128MiB"},
    ("block-device-gpt", "amd64"): {"BSP": "8MiB"},
    ("block-device-gpt", "ppc64el"): {"boot": "8MiB"},
    ("block-device-gpt", "s390x"): {"zipl": "128MiB"},
    ("block-device-efi", "amd64"): UEFI,
    ("block-device-efi", "arm64"): UEFI,
    ("block-device-efi-4k", "amd64"): {"ESP": "500MiB", "BSP": "8MiB"},
    ("block-device-efi-4k", "arm64"): {"ESP": "500MiB", "BSP": "8MiB"},
    ("block-device-efi-lvm", "amd64"): {**UEFI, "root": "40G"},
    ("block-device-efi-lvm", "arm64"): {**UEFI, "root": "40G"},
    ("block-device-hybrid", "amd64"): {"ESP": "128MiB", "BSP": "1MiB"},
    ("block-device-hybrid", "arm64"): {"ESP": "128MiB"},
}


def test_every_layout_is_in_the_table() -> None:
    assert {name for name, _ in PARTITIONS} == set(LAYOUTS)


@pytest.mark.parametrize(("name", "arch"), PARTITIONS)
def test_a_layout_can_be_laid_out(name: str, arch: str) -> None:
    """The layout's configuration is one that we take, with a root, and with the partitions that its loader needs."""
    assert source(LAYOUT.format(name), {"ARCH": arch}).returncode == 0
    found = find_configuration([(name, ELEMENTS[name].path)], {}, arch)
    text = found.text
    assert read_configuration(text, found.file)
    points = re.findall(r"mount_point: (\S+)", text)
    assert "/" in points
    assert ("/boot/efi" in points) == ("EF00" in text) == ("efi" in name or "hybrid" in name)
    if arch == "ppc64el":
        assert "0x41" in text
    data = yaml.safe_load(text)
    assert data[0] == {"local_loop": {"name": "image0", **({"block_size": 4096} if "4k" in name else {})}}
    partitions = next(entry["partitioning"]["partitions"] for entry in data if "partitioning" in entry)
    sizes = {partition["name"]: partition["size"] for partition in partitions}
    assert {partition: size for partition, size in sizes.items() if "%" not in str(size)} == PARTITIONS[name, arch]


@pytest.mark.parametrize(
    ("variables", "platforms"),
    [
        ({"ARCH": "amd64", "DIB_BLOCK_DEVICE": "hybrid"}, "i386-pc x86_64-efi"),
        ({"ARCH": "amd64", "DIB_BLOCK_DEVICE": "mbr"}, "i386-pc"),
        ({"ARCH": "arm64", "DIB_BLOCK_DEVICE": "efi"}, "arm64-efi"),
        ({"ARCH": "ppc64el", "DIB_BLOCK_DEVICE": "gpt"}, "powerpc-ieee1275"),
        ({"ARCH": "armhf", "DIB_BLOCK_DEVICE": "hybrid"}, "arm-efi"),
        ({"ARCH": "riscv64", "DIB_BLOCK_DEVICE": "hybrid"}, "riscv64-efi"),
        ({"ARCH": "amd64", "DIB_BLOCK_DEVICE": "efi", "DIB_BOOTLOADER": "systemd-boot"}, "x86_64-efi"),
        ({"ARCH": "amd64"}, ""),
    ],
)
def test_firmware_of_the_layout(variables: dict[str, str], platforms: str) -> None:
    result = source(LOADER, variables)
    assert result.returncode == 0, result.stderr
    assert f"\nDIB_BOOTLOADER_PLATFORMS={platforms}\n" in "\n" + result.stdout


@pytest.mark.parametrize(
    ("distribution", "arch", "signed"),
    [
        ("debian", "amd64", "True"),
        ("ubuntu", "arm64", "True"),
        ("debian", "i386", "False"),
        ("gentoo", "amd64", "False"),
    ],
)
def test_loaders_are_signed_where_the_distribution_signs_them(distribution: str, arch: str, signed: str) -> None:
    result = source(LOADER, {"ARCH": arch, "DISTRO_NAME": distribution, "DIB_BLOCK_DEVICE": "hybrid"})
    assert f"\nDIB_BOOTLOADER_SIGNED={signed}\n" in "\n" + result.stdout


def test_s390x_starts_by_zipl_and_has_no_words_for_a_pc() -> None:
    exported = dict(
        line.split("=", 1)
        for line in source(LOADER, {"ARCH": "s390x", "DIB_BLOCK_DEVICE": "mbr"}).stdout.splitlines()
        if line.startswith("DIB_")
    )
    assert (exported["DIB_BOOTLOADER"], exported["DIB_BOOTLOADER_PLATFORMS"]) == ("zipl", "zipl")
    assert exported["DIB_BOOTLOADER_SERIAL_CONSOLE"] == "ttysclp0"
    assert exported["DIB_BOOTLOADER_VIRTUAL_TERMINAL"] == exported["DIB_BOOTLOADER_DEFAULT_CMDLINE"] == ""
    assert exported["DIB_NO_TIMER_CHECK"] == "False"


@pytest.mark.parametrize("layout", ["hybrid", "efi", "efi-4k", "efi-lvm"])
def test_layouts_for_uefi_are_refused_on_s390x(layout: str) -> None:
    result = source(f"block-device-{layout}/environment.d/15-block-device.bash", {"ARCH": "s390x"})
    assert result.returncode != 0
    assert "s390x does not boot by UEFI; use block-device-gpt" in result.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DIB_BOOTLOADER": "uki", "DIB_BLOCK_DEVICE": "efi", "DIB_RELEASE": "bookworm"}, "has no ukify"),
        ({"DIB_BOOTLOADER": "lilo"}, "expected grub, systemd-boot or uki"),
        ({"DIB_BOOTLOADER": "uki", "DIB_BLOCK_DEVICE": "mbr"}, "needs a layout with an EFI system partition"),
        ({"DIB_EXTLINUX": "1"}, "extlinux"),
        ({"DIB_BLOCK_DEVICE": "floppy"}, "expected mbr, gpt, efi or hybrid"),
        ({"ARCH": "s390x", "DIB_BOOTLOADER": "systemd-boot"}, "start by zipl's boot record alone"),
        ({"ARCH": "s390x", "DIB_BOOTLOADER": "uki"}, "start by zipl's boot record alone"),
        ({"ARCH": "s390x", "DIB_BOOTLOADER": "grub"}, "start by zipl's boot record alone"),
        ({"DIB_BOOTLOADER": "zipl"}, "zipl is s390x's boot loader, and this image is for amd64"),
    ],
)
def test_a_boot_loader_that_cannot_be_is_refused(variables: dict[str, str], said: str) -> None:
    result = source(LOADER, {"ARCH": "amd64", **variables})
    assert result.returncode != 0
    assert said in result.stderr


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
