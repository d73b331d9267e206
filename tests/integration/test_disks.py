"""Disk images made without root from configurations of every kind, read back by other programs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.command import Command, script, write_element
from tests.integration.read_disks import ext_says, inspected, part, places, planned, sound

MIB = 1 << 20
KEY = "correct horse battery staple"
DATA = {
    "install.d/50-data": script(
        "mkdir -p /boot/efi/EFI/BOOT /srv/in /home/anna /var/lib/data",
        "echo boot > /boot/efi/EFI/BOOT/HELLO.TXT",
        "echo kernel > /boot/vmlinuz",
        "echo in > /srv/in/file",
        "echo anna > /home/anna/file",
        "echo two > /home/anna/one; ln /home/anna/one /home/anna/twin",
        "echo data > /var/lib/data/file",
        "ln -s ../srv /etc/link",
    ),
    "post-root.d/50-own": script('chown 1000:1000 "$TMP_MOUNT_PATH"/home/anna{,/file}'),
}


@pytest.fixture(scope="module")
def host(open_folder: Path) -> Iterator[Command]:
    folder = open_folder / "disks"
    folder.mkdir()
    write_element(folder / "elements", "data", DATA)
    command = Command(
        "host", folder / "store", folder / "out", (folder / "elements", Path(__file__).parents[1] / "elements")
    )
    yield command
    if os.geteuid() != 0:
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", command.store], check=False)


Build = Callable[..., Path]


@pytest.fixture
def build(host: Command, request: pytest.FixtureRequest) -> Build:
    """Builds a raw image with a configuration; returns its path. Each test's images have names of their own."""
    name = request.node.name.replace("[", "-").replace("]", "")

    def made(configuration: str, *arguments: str, variables: dict[str, str] | None = None) -> Path:
        outputs = () if "-o" in arguments else ("-o", "raw")
        host.build(
            *(*outputs, *arguments, "--name", name, "tiny-os", "data"),
            variables={"DIB_BLOCK_DEVICE_CONFIG": configuration, **(variables or {})},
        )
        return host.destination / f"{name}.raw"

    return made


GPT = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 40MiB
        mkfs: {type: vfat, label: efi, mount: {mount_point: /boot/efi, fstab: {options: umask=0077}}}
      - name: boot
        size: 60MiB
        mkfs: {type: ext2, label: boot, mount: {mount_point: /boot, fstab: {}}}
      - {name: swap, type: 8200, size: 16MiB, mkfs: {type: swap, label: swap, mount: {mount_point: swap, fstab: {}}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {options: noatime, fsck-passno: 1}}}}
"""


def test_gpt_with_four_file_systems(build: Build, tmp_path: Path) -> None:
    image = build(GPT)
    found = inspected(image)
    assert found["table"]["kind"] == "gpt"
    contents = [entry["content"] for entry in found["table"]["partitions"]]
    assert [(one["kind"], one["label"]) for one in contents] == [
        ("vfat", "EFI"),
        ("ext2", "boot"),
        ("swap", "swap"),
        ("ext4", "cloudimg-rootfs"),
    ]
    (efi, boot, _, root) = places(image)
    sound(image, *boot, tmp_path)
    sound(image, *root, tmp_path)
    assert ext_says(image, root[0], "cat /etc/fstab").splitlines() == [
        "LABEL=cloudimg-rootfs / ext4 noatime 0 1",
        "LABEL=boot /boot ext2 defaults 0 2",
        "LABEL=EFI /boot/efi vfat umask=0077 0 2",
        "LABEL=swap none swap sw 0 0",
    ]
    # Each file is on its own file system and nowhere else; the mount points are there and empty.
    assert ext_says(image, boot[0], "cat /vmlinuz") == "kernel\n"
    assert "vmlinuz" not in ext_says(image, root[0], "ls /boot")
    assert "EFI" not in ext_says(image, boot[0], "ls /efi")
    text = subprocess.check_output(["mtype", "-i", f"{image}@@{efi[0]}", "::EFI/BOOT/HELLO.TXT"], text=True)
    assert text.strip() == "boot"
    assert "User:  1000   Group:  1000" in " ".join(ext_says(image, root[0], "stat /home/anna/file").split(" "))
    assert "Links: 2" in ext_says(image, root[0], "stat /home/anna/twin")


def test_the_plan_says_what_comes_out(build: Build) -> None:
    text = GPT.replace("{name: image0}", "{name: image0, size: 700MiB}")
    image = build(text)
    (disk,) = planned(text, "--tree-size", "20MiB")["disks"]
    assert disk["size"] == image.stat().st_size
    assert places(image) == [(slot["start"], slot["length"]) for slot in disk["slots"]]


MBR = """
- local_loop: {name: image0, size: 350MiB}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: root, flags: [boot, primary], size: 50%, mkfs: {mount: {mount_point: /, fstab: {}}}}
      - {name: srv, size: 60MiB, mkfs: {type: ext3, mount: {mount_point: /srv}}}
      - {name: home, size: 100%, mkfs: {type: ext4, mount: {mount_point: /home}}}
"""


@pytest.mark.thorough("one more disk; tests/unit/blockdev has the tables")
def test_mbr_with_logical_partitions(build: Build, tmp_path: Path) -> None:
    image = build(MBR)
    found = json.loads(subprocess.check_output(["sfdisk", "--json", image]))["partitiontable"]
    assert [one["type"] for one in found["partitions"]] == ["83", "f", "83", "83"]
    assert found["partitions"][0]["bootable"]
    root, _, srv, home = places(image)
    for place in (root, srv, home):
        sound(image, *place, tmp_path)
    assert ext_says(image, srv[0], "cat /in/file") == "in\n"
    assert ext_says(image, home[0], "cat /anna/twin") == "two\n"
    kinds = [entry["content"]["kind"] for entry in inspected(image)["table"]["partitions"] if entry["content"]]
    assert kinds[-2:] == ["ext3", "ext4"]
    assert subprocess.run(["sfdisk", "--verify", image], capture_output=True, check=False).returncode == 0


def test_sectors_of_4096_bytes(build: Build) -> None:
    image = build(GPT, variables={"DIB_BLOCK_SIZE": "4096"})
    table = inspected(image)["table"]
    assert (table["kind"], table["sector_size"]) == ("gpt", 4096)
    assert [entry["content"]["kind"] for entry in table["partitions"]] == ["vfat", "ext2", "swap", "ext4"]


def test_several_disks(build: Build, host: Command, tmp_path: Path) -> None:
    text = """
- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /, fstab: {}}}}
- local_loop: {name: data, size: 50MiB, mkfs: {type: ext4, mount: {mount_point: /srv, fstab: {}}}}
"""
    image = build(text, "-o", "raw", "-o", "qcow2")
    other = image.with_name(f"{image.stem}-data.raw")
    assert other.stat().st_size == 50 * MIB
    assert ext_says(other, 0, "cat /in/file") == "in\n"
    assert "LABEL=mkfs_data /srv ext4 defaults 0 2" in ext_says(image, 0, "cat /etc/fstab")
    converted = tmp_path / "back.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", other.with_suffix(".qcow2"), converted], check=True)
    assert subprocess.run(["cmp", converted, other], check=False).returncode == 0
    for file in (image, other):
        checked = subprocess.run(
            ["sha256sum", "-c", f"{file.name}.sha256"], cwd=file.parent, capture_output=True, check=False
        )
        assert checked.returncode == 0


LVM = """
- local_loop: {name: image0, size: 450MiB}
- local_loop: {name: second, size: 150MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: one, type: 8E00, size: 110MiB}
      - {name: two, type: 8E00, size: 100%}
- lvm:
    name: lvm
    pvs:
      - {name: pv0, base: one}
      - {name: pv1, base: two}
      - {name: pv2, base: second}
    vgs:
      - {name: vg, base: [pv0, pv1, pv2]}
    lvs:
      - {name: lv_root, base: vg, size: 220MiB}
      - {name: lv_srv, base: vg, extents: 20%VG}
      - {name: lv_home, base: vg, extents: 100%FREE}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
- mkfs: {name: srv, base: lv_srv, type: ext4, mount: {mount_point: /srv, fstab: {}}}
- mkfs: {name: home, base: lv_home, type: ext4, mount: {mount_point: /home, fstab: {}}}
"""


@pytest.mark.thorough("one more disk; `just test` has test_lvm.py")
def test_volumes_over_several_disks(build: Build, tmp_path: Path) -> None:
    """Each volume, put together from its pieces, is a sound file system with its part of the tree."""
    image = build(LVM)
    disks = {"image0": image, "second": image.with_name(f"{image.stem}-second.raw")}
    layout = planned(LVM, "--tree-size", "20MiB")
    assert len(layout["storages"]["lv_root"]["pieces"]) > 1
    for volume, command, text in (
        ("lv_root", "cat /var/lib/data/file", "data\n"),
        ("lv_srv", "cat /in/file", "in\n"),
        ("lv_home", "cat /anna/file", "anna\n"),
    ):
        whole = tmp_path / volume
        with whole.open("wb") as out:
            for piece in layout["storages"][volume]["pieces"]:
                with disks[piece["disk"]].open("rb") as source:
                    source.seek(piece["offset"])
                    out.write(source.read(piece["length"]))
        sound(whole, 0, whole.stat().st_size, tmp_path)
        assert ext_says(whole, 0, command) == text
    groups = json.dumps(inspected(image))
    assert all(name in groups for name in ("lv_root", "lv_srv", "lv_home"))


MORE = pytest.mark.thorough("one more disk; `just test` has its file system (test_filesystems.py)")


@pytest.mark.parametrize("kind", ["squashfs", *(pytest.param(kind, marks=MORE) for kind in ("erofs", "btrfs", "xfs"))])
def test_other_roots(build: Build, tmp_path: Path, kind: str) -> None:
    text = f"""
- local_loop: {{name: image0, size: {400 if kind == "xfs" else 160}MiB}}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {{name: root, size: 100%, mkfs: {{type: {kind}, mount: {{mount_point: /, fstab: {{}}}}}}}}
"""
    image = build(text)
    content = inspected(image)["table"]["partitions"][0]["content"]
    assert content["kind"] == kind
    ((start, length),) = places(image)
    file = part(image, start, length, tmp_path)
    check = {
        "squashfs": ["unsquashfs", "-cat", file, "srv/in/file"],
        "erofs": ["dump.erofs", "--cat", "--path=/srv/in/file", file],
        "btrfs": ["btrfs", "restore", "-s", "--path-regex", "^/(|srv(|/in(|/.*)))$", file, tmp_path],
        "xfs": ["xfs_repair", "-n", "-f", file],
    }[kind]
    if kind == "erofs":
        check = ["fsck.erofs", f"--extract={tmp_path / 'tree'}", "--no-preserve", file]
    done = subprocess.run(list(map(str, check)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {
        "squashfs": lambda: done.stdout,
        "erofs": (tmp_path / "tree/srv/in/file").read_text,
        "btrfs": (tmp_path / "srv/in/file").read_text,
    }
    assert found.get(kind, lambda: "in\n")() == "in\n"


def test_encrypted(build: Build, host: Command, tmp_path: Path) -> None:
    text = """
- local_loop: {name: image0, size: 250MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: root
        size: 100%
        luks:
          key-variable: DISK_KEY
          mkfs: {name: mkfs_root, mount: {mount_point: /, fstab: {}}}
"""
    image = build(text, variables={"DISK_KEY": KEY})
    content = inspected(image)["table"]["partitions"][0]["content"]
    assert content["kind"].lower().startswith("luks")
    ((start, length),) = places(image)
    file = part(image, start, length, tmp_path)
    done = subprocess.run(
        ["cryptsetup", "open", "--test-passphrase", "--key-file=-", file],
        input=KEY.encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert KEY.encode() not in image.read_bytes()
    stored = [path for path in host.store.rglob("*") if path.is_file() and path.suffix in {".json", ".log"}]
    assert all(KEY.encode() not in path.read_bytes() for path in stored)


@pytest.mark.thorough("one more disk; `just test` has test_verity.py")
def test_verity(host: Command, tmp_path: Path) -> None:
    text = """
- local_loop: {name: image0, size: 400MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: root, type: 8304, size: 300MiB, mkfs: {type: squashfs, mount: {mount_point: /, fstab: {}}}}
      - {name: hashes, type: 830C, size: 20MiB}
- verity: {base: root, hash: hashes}
"""
    words = ("-o", "raw", "--name", "verity", "tiny-os", "data")
    outcome = host.build(*words, variables={"DIB_BLOCK_DEVICE_CONFIG": text})
    image = host.destination / "verity.raw"
    root, hashes = (part(image, *place, tmp_path) for place in places(image))
    (root_hash,) = set(re.findall(r"verity \S+: root hash ([0-9a-f]{64})", outcome.stdout))
    done = subprocess.run(
        ["veritysetup", "verify", root, hashes, root_hash], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


FORMS = ("raw", "qcow2", "vmdk", "vmdk-sparse,dest={}/sparse.vmdk", "vdi", "vhd", "vhdx", "raw.gz")
ALL = pytest.param(
    FORMS, id="all", marks=pytest.mark.thorough("`just test` has all of one raw image (test_convert.py)")
)


@pytest.mark.parametrize("kinds", [pytest.param(("raw", "qcow2", "raw.gz"), id="some"), ALL])
def test_the_same_bytes_in_every_format(host: Command, place: Path, kinds: tuple[str, ...]) -> None:
    """Built twice, in two stores and under another name of the folder: the same."""
    digests = []
    for number in (1, 2):
        folder = place / f"again-{number}"
        folder.mkdir()
        command = Command("host", place / f"store-{number}", folder / "out", host.elements)
        outputs = [word for kind in kinds for word in ("-o", kind.format(folder))]
        outcome = command.build(
            *outputs, "--name", "same", "tiny-os", "data", variables={"DIB_BLOCK_DEVICE_CONFIG": GPT}
        )
        found = {event["output"]: event["digest"] for event in outcome.events if event["type"] == "output"}
        for event in outcome.events:
            if event["type"] == "output" and event["output"] == "raw":
                file = command.destination / "same.raw"
                assert hashlib.sha256(file.read_bytes()).hexdigest() == event["digest"].removeprefix("sha256:")
                with gzip.open(command.destination / "same.raw.gz") as packed:
                    assert packed.read() == file.read_bytes()
        digests.append(found)
    assert len(digests[0]) == len(kinds)
    assert digests[0] == digests[1]


def test_one_disk_at_two_places(host: Command, tmp_path: Path) -> None:
    other = tmp_path / "again.qcow2"
    host.build("-o", "qcow2", "-o", f"qcow2,dest={other}", "--name", "twice", "tiny-os", "data")
    assert other.read_bytes() == (host.destination / "twice.qcow2").read_bytes()


def test_nothing_changed_and_nothing_is_written(host: Command) -> None:
    first = host.build("-o", "qcow2", "--name", "still", "tiny-os", "data")
    again = host.build("-o", "qcow2", "--name", "still", "tiny-os", "data")
    assert [event["changed"] for event in first.events if event["type"] == "output"] == [True]
    assert [event["changed"] for event in again.events if event["type"] == "output"] == [False]
    assert not any(event["type"] == "assemble" for event in again.events)


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_another_option_of_the_disk_runs_no_stage(host: Command) -> None:
    host.build("-o", "raw", "--name", "size", "tiny-os", "data")
    outcome = host.build("-o", "raw", "--name", "size", "--image-size", "1", "tiny-os", "data")
    assert outcome.titles("start") == []
    assert (host.destination / "size.raw").stat().st_size == 1 << 30


def test_a_tree_that_has_no_room_is_told_and_leaves_nothing(host: Command) -> None:
    small = ("--image-size", "1MiB", "--root-fs", "ext2")  # ext4 has a least size of its own
    outcome = host("build", "-o", "raw", "--name", "small", *small, "tiny-os", "data")
    assert outcome.status == 2
    assert "the tree needs a root file system of" in outcome.stderr
    assert not (host.destination / "small.raw").exists()
    assert not any((host.store / "work").iterdir())


def test_a_part_of_the_tree_that_has_no_room_names_its_file_system(host: Command, open_folder: Path) -> None:
    fill = script("mkdir -p /srv", "for n in {1..30}; do cat /usr/bin/bash > /srv/$n; done")
    write_element(open_folder / "disks" / "elements", "much", {"install.d/60-much": fill})
    text = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: srv, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /srv}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /}}}
"""
    outcome = host(
        "build", "-o", "raw", "--name", "much", "tiny-os", "data", "much", variables={"DIB_BLOCK_DEVICE_CONFIG": text}
    )
    assert outcome.status == 1
    assert "ext4 on /srv (node 'mkfs_srv', 20 MiB)" in outcome.stderr
    assert not (host.destination / "much.raw").exists()
