"""Firmware is found by QEMU's descriptors first, and then where distributions put it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError, UsageError
from qemu.firmware import Firmware, find, kinds


@pytest.fixture(autouse=True)
def no_own_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def put(root: Path, *names: str) -> None:
    """Make files that say their names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def describe(folder: Path, name: str, code: str, variables: str = "", **changes: Any) -> None:
    """Write a descriptor."""
    mapping: dict[str, Any] = {"device": "flash", "executable": {"filename": code, "format": "raw"}}
    if variables:
        mapping["nvram-template"] = {"filename": variables, "format": "qcow2"}
    document = {
        "interface-types": ["uefi"],
        "mapping": mapping,
        "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
        "features": ["acpi-s3"],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document))


def test_the_first_descriptor_that_fits_counts(tmp_path: Path) -> None:
    shared = tmp_path / "usr/share/qemu/firmware"
    put(tmp_path, "fw/a", "fw/b", "fw/v", "usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd")
    describe(shared, "30-signed.json", "/fw/a", "/fw/v", features=["enrolled-keys", "secure-boot"])
    describe(shared, "40-smm.json", "/fw/a", "/fw/v", features=["requires-smm"])
    describe(shared, "41-arm.json", "/fw/a", targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    describe(shared, "42-microvm.json", "/fw/a", targets=[{"architecture": "x86_64", "machines": ["microvm"]}])
    describe(shared, "43-bios.json", "/fw/a", "", **{"interface-types": ["bios"]})
    describe(shared, "44-gone.json", "/fw/gone", "/fw/v")
    (shared / "45-broken.json").write_text("{")
    describe(shared, "50-good.json", "/fw/b", "/fw/v")
    describe(shared, "60-later.json", "/fw/a", "/fw/v")
    assert find("amd64", "uefi", root=tmp_path) == Firmware(
        "uefi", code=tmp_path / "fw/b", variables=tmp_path / "fw/v", variables_format="qcow2"
    )


def test_the_administrators_descriptor_hides_the_one_of_its_name(tmp_path: Path) -> None:
    put(tmp_path, "fw/a", "fw/b", "fw/c")
    describe(tmp_path / "usr/share/qemu/firmware", "50-x.json", "/fw/a")
    describe(tmp_path / "etc/qemu/firmware", "50-x.json", "/fw/b")
    assert find("amd64", "uefi", root=tmp_path).code == tmp_path / "fw/b"
    # An empty file hides it as well.
    (tmp_path / "etc/qemu/firmware/50-x.json").write_text("")
    describe(tmp_path / "usr/share/qemu/firmware", "60-y.json", "/fw/c")
    assert find("amd64", "uefi", root=tmp_path).code == tmp_path / "fw/c"


@pytest.mark.parametrize(
    ("arch", "code", "variables"),
    [
        ("amd64", "OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"),
        ("amd64", "edk2/ovmf/OVMF_CODE.fd", "edk2/ovmf/OVMF_VARS.fd"),
        ("arm64", "AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd"),
        ("riscv64", "qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "qemu-efi-riscv64/RISCV_VIRT_VARS.fd"),
    ],
)
def test_known_places(arch: str, code: str, variables: str, tmp_path: Path) -> None:
    share = tmp_path / "usr/share"
    put(share, code)
    with pytest.raises(BuildError, match="no UEFI firmware"):  # code without a store of variables is of no use
        find(arch, "uefi", root=tmp_path)
    put(share, variables)
    assert find(arch, "uefi", root=tmp_path) == Firmware("uefi", code=share / code, variables=share / variables)


def test_u_boot_where_there_is_no_edk2(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/u-boot/qemu-riscv64_smode/uboot.elf")
    assert find("riscv64", "uefi", root=tmp_path).loader == tmp_path / "usr/lib/u-boot/qemu-riscv64_smode/uboot.elf"


def test_missing_firmware_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        find("arm64", "uefi", root=tmp_path)
    assert caught.value.hint == "apt-get install qemu-efi-aarch64"


def test_qemu_brings_what_is_not_uefi(tmp_path: Path) -> None:
    assert find("amd64", "bios", root=tmp_path) == Firmware("bios")
    assert find("s390x", "ccw", root=tmp_path) == Firmware("ccw")


def test_the_store_of_variables_is_copied(tmp_path: Path) -> None:
    put(tmp_path, "code", "vars")
    (tmp_path / "vars").chmod(0o444)
    folder = tmp_path / "own"
    folder.mkdir()
    found = Firmware("uefi", code=tmp_path / "code", variables=tmp_path / "vars").prepared(folder)
    assert found.code == tmp_path / "code"
    assert found.variables
    assert found.variables.parent == folder
    found.variables.write_text("changed")
    assert (tmp_path / "vars").read_text() == "vars"
    assert Firmware("bios").prepared(folder) == Firmware("bios")


def test_which_ways_to_start() -> None:
    assert kinds("amd64", "") == ("bios",)
    assert kinds("amd64", "both") == ("bios", "uefi")
    assert kinds("amd64", "uefi") == ("uefi",)
    assert kinds("arm64", "") == kinds("arm64", "uefi") == ("uefi",)
    assert kinds("s390x", "") == ("ccw",)


@pytest.mark.parametrize(
    ("arch", "asked", "named"),
    [("arm64", "bios", "UEFI"), ("arm64", "both", "UEFI"), ("s390x", "uefi", "channel"), ("ppc64el", "bios", "Open")],
)
def test_a_way_that_an_architecture_has_not(arch: str, asked: str, named: str) -> None:
    with pytest.raises(UsageError, match=f"{arch} machines start by {named}"):
        kinds(arch, asked)
