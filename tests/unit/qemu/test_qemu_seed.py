"""The seed: what cloud-init reads, and the file system that it lies on, read back without any tool."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from qemu import cloud_init_seed, fat12
from tests.examples import examples

KEY = "ssh-ed25519 " + "A" * 68 + " someone"


def read_back(image: bytes) -> tuple[str, dict[str, bytes]]:
    """Label and files of a FAT12 file system, by the numbers in its own boot sector."""
    (size, per, reserved, fats, entries, total) = struct.unpack_from("<HBHBHH", image, 11)
    (fat_sectors,) = struct.unpack_from("<H", image, 22)
    assert len(image) == total * size
    fat = image[reserved * size : (reserved + fat_sectors) * size]
    assert fat == image[(reserved + fat_sectors) * size : (reserved + 2 * fat_sectors) * size]
    root = (reserved + fats * fat_sectors) * size
    data = root + entries * 32
    label, long, files = "", "", {}
    for place in range(root, data, 32):
        entry = image[place : place + 32]
        if not entry[0]:
            break
        if entry[11] == 0x0F:
            part = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le")
            long = part.split("\0")[0] + long
        elif entry[11] == 0x08:
            label = entry[:11].decode().rstrip()
        else:
            cluster, length = struct.unpack_from("<HI", entry, 26)
            content = b""
            while 2 <= cluster < 0xFF8:
                start = data + (cluster - 2) * per * size
                content += image[start : start + per * size]
                pair = int.from_bytes(fat[cluster * 3 // 2 :][:2], "little")
                cluster = pair >> 4 if cluster % 2 else pair & 0xFFF
            assert len(content) - length < per * size
            files[long], long = content[:length], ""
    return label, files


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-.0123456789", min_size=1, max_size=30).filter(lambda name: name[-1] != ".")


@settings(max_examples=examples(60))
@given(st.dictionaries(NAMES, st.binary(max_size=9000), max_size=8))
def test_files_come_back_from_the_file_system(files: dict[str, bytes]) -> None:
    image = fat12.image("cidata", files)
    assert read_back(image) == ("CIDATA", files)
    assert image == fat12.image("cidata", dict(reversed(files.items())))


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 4_000_000])
def test_sizes_around_a_cluster(size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    assert read_back(fat12.image("X", {"a": content, "b": b"after"}))[1] == {"a": content, "b": b"after"}


def test_too_much() -> None:
    with pytest.raises(ValueError, match="too many"):
        fat12.image("X", {"a": bytes(9 << 20)})
    with pytest.raises(ValueError, match="too many files"):
        fat12.image("X", {f"a-rather-long-name-{number}": b"" for number in range(60)})


def test_the_key_goes_to_the_meta_data_and_user_data_stay() -> None:
    given = {"user-data": b"#!/bin/sh\necho hello\n", "meta-data": b"local-hostname: box\n"}
    files = cloud_init_seed.contents(given, KEY)
    assert files["user-data"] == given["user-data"]
    metadata = yaml.safe_load(files["meta-data"])
    assert metadata["local-hostname"] == "box"
    assert metadata["public-keys"] == [KEY]
    assert metadata["instance-id"].startswith("dib-ctr-")
    assert KEY in files["meta-data"].decode().replace("- ", "").splitlines()  # on a line of its own


@pytest.mark.parametrize(
    ("there", "before"),
    [
        ("public-keys: [one, two]", ["one", "two"]),
        ("public-keys: {a: [one], b: two}", ["one", "two"]),
        ("public-keys: |\n  one\n  two\n", ["one", "two"]),
        ("public-keys:", []),
    ],
)
def test_keys_that_are_there_stay(there: str, before: list[str]) -> None:
    metadata = yaml.safe_load(cloud_init_seed.contents({"meta-data": there.encode()}, KEY)["meta-data"])
    assert metadata["public-keys"] == [*before, KEY]


def test_another_seed_is_another_instance() -> None:
    def instance(files: dict[str, bytes], key: str = "") -> str:
        return str(yaml.safe_load(cloud_init_seed.contents(files, key)["meta-data"])["instance-id"])

    assert instance({}) == instance({})
    assert len({instance({}), instance({}, KEY), instance({"user-data": b"x"})}) == 3
    assert instance({"meta-data": b"instance-id: mine"}) == "mine"


def test_without_anything_user_data_is_an_empty_configuration() -> None:
    assert cloud_init_seed.contents({})["user-data"].startswith(b"#cloud-config\n")


def test_reading_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no user-data"):
        cloud_init_seed.read(tmp_path)
    (tmp_path / "user-data").write_text("u")
    (tmp_path / "network-config").write_text("n")
    (tmp_path / "notes.txt").write_text("not for the machine")
    assert cloud_init_seed.read(tmp_path) == {"user-data": b"u", "network-config": b"n"}


@pytest.mark.parametrize("text", [b"[a, b]", b"a: [", b"just words"])
def test_meta_data_must_be_a_mapping(text: bytes) -> None:
    with pytest.raises(UsageError, match="meta-data"):
        cloud_init_seed.contents({"meta-data": text})


def test_a_seed_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too large"):
        cloud_init_seed.write(tmp_path / "seed.img", {"user-data": bytes(9 << 20)})
    assert read_back(cloud_init_seed.write(tmp_path / "s", {"user-data": b"u"}).read_bytes()) == (
        "CIDATA",
        {"user-data": b"u"},
    )
