"""What a request says of a disk: elements that are added, options, variables for the elements, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import UsageError
from builder.build import boot_test
from builder.request.disk_options import options_of
from builder.request.options import BuildOptions, DiskOptions
from builder.request.outputs import parse_output
from builder.request.prepare import prepare
from builder.request.prepared_build import PreparedBuild
from stages.element.environment import initial
from stages.protocol.request import DISK_TYPES, Request

LAYOUT = """
- local_loop: {name: image0, size: 2GiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: BOOT, size: 200MiB, mkfs: {type: ext4, label: boot, mount: {mount_point: /boot, fstab: {}}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
"""


def prepared(
    *elements: str, outputs: tuple[str, ...] = ("qcow2",), environment: dict[str, str] | None = None, **more: Any
) -> PreparedBuild:
    return prepare(
        "build", BuildOptions(elements, outputs=outputs, destination=Path("/tmp"), **more), environment or {}
    )


def test_a_tree_for_containers_is_for_no_disk() -> None:
    assert prepared("debian-minimal", outputs=("oci", "tar")).request.disk == {}


def test_without_partitions_where_nothing_asks_for_any() -> None:
    request = prepared("debian-minimal").request
    assert "mkfs_root" in request.disk["text"]
    assert request.disk["variables"]["DIB_MOUNTPOINTS"] == "/"
    assert request.disk["variables"]["DIB_CTR_FSTAB"] == "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n"


def test_a_configuration_of_ones_own_inline_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "layout.yaml"
    file.write_text(LAYOUT)
    for environment in (
        {"DIB_BLOCK_DEVICE_CONFIG": LAYOUT},
        {"DIB_BLOCK_DEVICE_CONFIG": f"file://{file}"},
    ):
        request = prepared("debian-minimal", environment=environment).request
        assert request.disk["text"] == LAYOUT
        variables = initial(request, 0)
        assert variables["DIB_ROOT_LABEL"] == "cloudimg-rootfs"
        assert variables["DIB_BOOT_LABEL"] == "boot"
        assert variables["DIB_ROOT_FSTYPE"] == "ext4"
        assert variables["DIB_MOUNTPOINTS"] == "/boot|/"
    request = prepared("debian-minimal", disk=DiskOptions(configuration=str(file))).request
    assert request.disk["file"] == str(file)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DIB_BLOCK_DEVICE_CONFIG": "file:///not/there"}, "/not/there cannot be read"),
        ({"DIB_BLOCK_DEVICE_CONFIG": "- mkfs: {type: ext4}"}, "DIB_BLOCK_DEVICE_CONFIG:1"),
        ({"DIB_BLOCK_DEVICE_CONFIG": LAYOUT.replace("2GiB", "100MiB")}, "partition 'BOOT': it wants 200 MiB"),
        ({"DIB_IMAGE_SIZE": "large"}, "DIB_IMAGE_SIZE is 'large'"),
        ({"DIB_IMAGE_SIZE": "-1"}, "DIB_IMAGE_SIZE is '-1'"),
        ({"DIB_IMAGE_SIZE": "2500MiB"}, "takes for 2500 GiB"),
        ({"DIB_IMAGE_SIZE": "1T"}, "takes for 1 GiB"),
        ({"DIB_IMAGE_EXTRA_SIZE": "1G"}, "takes for 1 MiB"),
        ({"DIB_JOURNAL_SIZE": "1GiB"}, "the journal's size is '1GiB'"),
        ({"DIB_BLOCK_SIZE": "1000"}, "DIB_BLOCK_SIZE is '1000'"),
        (
            {"FS_TYPE": "EXT5"},
            "there is no file system type 'EXT5' (mkfs node 'mkfs_root')\n  where: --root-fs, FS_TYPE",
        ),
        (
            {"DIB_BLOCK_DEVICE_CONFIG": LAYOUT.replace("ext4", "etx4")},
            "DIB_BLOCK_DEVICE_CONFIG:7\n  next:  did you mean",
        ),
    ],
)
def test_refused_before_anything_runs(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        prepared("debian-minimal", environment=environment)
    assert message in str(refused.value)


def test_options_go_before_variables() -> None:
    found = options_of(
        DiskOptions(image_size="3"), {"DIB_IMAGE_SIZE": "5", "FS_TYPE": "xfs"}, {"ROOT_LABEL": "mine"}, ""
    )
    assert (found.size, found.root_type, found.root_label) == (3 << 30, "xfs", "mine")
    found = options_of(DiskOptions(extra_size="500", mkfs_options="-m 1  -O ^64bit"), {}, {}, "")
    assert (found.extra, found.root_options) == (500 << 20, ("-m", "1", "-O", "^64bit"))
    assert options_of(DiskOptions(image_size="2500MiB"), {}, {}, "").size == 2500 << 20


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5", 5 << 30),
        ("5G", 5 << 30),
        ("8Gb", 8 << 30),
        ("6GiB", 6 << 30),
        (" 2.5 GB", 5 << 29),
        (".5", 1 << 29),
        ("1e1", 10 << 30),
        ("3 or so", 3 << 30),
        ("0.3333333", 349525 << 10),  # whole KiB
        ("", None),
    ],
)
def test_the_number_that_a_variable_begins_with_counts_in_gib(text: str, size: int | None) -> None:
    assert options_of(DiskOptions(), {"DIB_IMAGE_SIZE": text}, {}, "").size == size


def test_a_size_of_the_variable_grows_for_an_efi_partition_as_in_diskimage_builder() -> None:
    efi, size = ["base", "block-device-efi-lvm"], {"DIB_IMAGE_SIZE": "4"}
    assert options_of(DiskOptions(), size, {}, "", efi).size == (4 << 30) + (525 << 20)
    assert options_of(DiskOptions(image_size="4"), size, {}, "", efi).size == 4 << 30
    assert options_of(DiskOptions(), {"DIB_IMAGE_EXTRA_SIZE": "7M"}, {}, "", efi).size is None
    assert options_of(DiskOptions(), {"DIB_IMAGE_EXTRA_SIZE": "7M"}, {}, "", efi).extra == 7 << 20


def test_what_has_no_effect_in_a_configuration_is_for_the_user() -> None:
    text = LAYOUT.replace("name: image0,", "name: image0, directory: /srv,").replace("200MiB,", "200MiB, colour: red,")
    notes = prepared("debian-minimal", environment={"DIB_BLOCK_DEVICE_CONFIG": text}).notes
    assert any("directory has no effect" in note for note in notes)
    assert any("nobody looks at the key 'colour'" in note for note in notes)
    tree = prepared("debian-minimal", outputs=("tar",), environment={"DIB_BLOCK_DEVICE_CONFIG": text})
    assert not any("directory" in note for note in tree.notes)


def test_a_script_that_makes_the_disk_itself_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "own/block-device.d/10-make"
    script.parent.mkdir(parents=True)
    script.write_text('#!/bin/bash\necho "IMAGE_BLOCK_DEVICE=$(losetup --show -f x)"\n')
    script.chmod(0o755)
    with pytest.raises(UsageError, match=r"element own: block-device\.d/10-make makes a disk of its own"):
        prepared("debian-minimal", "own", elements_path=str(tmp_path))
    assert prepared("debian-minimal", "own", elements_path=str(tmp_path), outputs=("tar",))
    script.write_text("#!/bin/bash\ntrue\n")  # it is left out, and the check says so
    assert prepared("debian-minimal", "own", elements_path=str(tmp_path))


@pytest.mark.parametrize("kind", DISK_TYPES)
def test_every_disk_type_is_an_output(kind: str) -> None:
    assert parse_output(kind).type == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qcow2,compress=brotli", "qcow2 cannot be compressed with 'brotli'"),
        ("qcow2,level=3", "qcow2 has no compression levels"),
        ("raw.zst,level=99", "raw.zst has no compression level 99"),
        ("raw,qemu.cluster_size=1M", "raw has no options"),
        ("vmdk,qemu.subformat=twoGbMaxExtentFlat", "vmdk has subformat=streamOptimized, always"),
        ("qcow2,checksum=crc32", "there is no checksum 'crc32'"),
        ("qcow2,layers=stages", "'layers' is no option of the output qcow2"),
    ],
)
def test_an_output_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_output(text)
    assert message in str(refused.value)


def test_passphrases_are_no_part_of_the_request() -> None:
    text = (
        LAYOUT.replace("{name: root, size: 100%, mkfs:", "{name: root, size: 100%, luks: {key-variable: KEY, mkfs:")
        .replace("fsck-passno: 1}}}}", "fsck-passno: 1}}}}}")
        .replace("mkfs: {mount: {mount_point: /,", "mkfs: {name: mkfs_root, mount: {mount_point: /,")
    )
    found = prepared("debian-minimal", environment={"DIB_BLOCK_DEVICE_CONFIG": text, "KEY": "open sesame"})
    assert found.passphrases == {"luks_root": "b3BlbiBzZXNhbWU="}
    assert "open sesame" not in found.request.to_json()
    assert "b3BlbiBzZXNhbWU=" not in found.request.to_json()
    again = prepared("debian-minimal", environment={"DIB_BLOCK_DEVICE_CONFIG": text, "KEY": "open sesame"})
    assert again.request.disk["nonce"] != found.request.disk["nonce"]  # never the same bytes: never from the cache
    with pytest.raises(UsageError, match="the variable KEY is not set"):
        prepared("debian-minimal", environment={"DIB_BLOCK_DEVICE_CONFIG": text})
    with pytest.raises(UsageError, match="would be shown to every element"):
        secret = text.replace("key-variable: KEY", "key-variable: DIB_KEY")
        prepared("debian-minimal", environment={"DIB_BLOCK_DEVICE_CONFIG": secret, "DIB_KEY": "x"})


def test_a_boot_test_needs_what_qemu_reads() -> None:
    assert boot_test.image_of(prepared("debian-minimal", outputs=("tar", "raw.gz", "vmdk"))).suffix == ".vmdk"
    with pytest.raises(UsageError, match="--boot-test needs a disk image"):
        boot_test.image_of(prepared("debian-minimal", outputs=("oci", "raw.zst")))


def test_scripts_hear_of_a_root_where_there_is_no_disk() -> None:
    """As under diskimage-builder, whose driver has a layout of its own whatever is written."""
    found = initial(Request("build", variables={"FS_TYPE": "xfs"}), 0)
    assert (found["DIB_ROOT_LABEL"], found["DIB_ROOT_FSTYPE"]) == ("cloudimg-rootfs", "xfs")
    assert (found["DIB_BOOT_LABEL"], found["DIB_MOUNTPOINTS"]) == ("", "/")
    own = initial(Request("build", disk={"variables": {"DIB_MOUNTPOINTS": "/|/boot"}}), 0)
    assert own["DIB_MOUNTPOINTS"] == "/|/boot"


@pytest.mark.parametrize(
    ("arch", "layout"),
    [
        ("amd64", "block-device-hybrid"),
        ("riscv64", "block-device-hybrid"),
        ("ppc64el", "block-device-mbr"),
        ("s390x", "block-device-mbr"),
    ],
)
def test_a_machine_gets_the_layout_and_the_loader_of_its_architecture(arch: str, layout: str) -> None:
    found = prepared("debian-minimal", "vm", arch=arch)
    assert {layout, "bootloader"} <= set(found.request.elements)


OWN = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: root, type: '8300', size: 100%, mkfs: {type: ext4, mount: {mount_point: /, fstab: {}}}}
"""


@pytest.mark.parametrize(
    ("element", "variables", "said"),
    [
        ("block-device-mbr", {"DIB_BLOCK_DEVICE_CONFIG": OWN}, "starts from a partition for kernel and ram disk"),
        ("block-device-gpt", {"DIB_BLOCK_SIZE": "4096"}, "starts from sectors of 512 bytes, and 'image0' has 4096"),
    ],
)
def test_a_layout_that_s390x_does_not_start_is_refused_before_anything_runs(
    element: str, variables: dict[str, str], said: str
) -> None:
    names = ("debian-minimal", "vm", element)
    with pytest.raises(UsageError, match=said):
        prepared(*names, arch="s390x", environment=variables)
    prepared(*names, arch="s390x", environment=variables, outputs=("tar",))
