"""Encrypted containers, read back by cryptsetup and by another library's cipher; no device-mapper and no privilege."""

from __future__ import annotations

import ctypes.util
import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from blockdev import filesystems
from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec
from blockdev.filesystems.region import Region
from blockdev.layout.model import LUKS_HEADER
from blockdev.volumes import luks
from blockdev.volumes.luks import Luks
from tests.integration.engine_cases import missing

OFFSET, SIZE, MIB = 3 << 20, 24 << 20, 1 << 20
KEY = b"several words \xff and a line end\n"
CHEAP = Luks(KEY, memory=1024, label="secret-root", seed="test")
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
KINDS = {
    "argon2id": CHEAP,
    "pbkdf2": dataclasses.replace(CHEAP, pbkdf="pbkdf2", iterations=1000, cipher="aes-xts-plain64", key_bits=256),
    "sectors": dataclasses.replace(CHEAP, sector_size=4096),
}


def run(*command: str | Path, given: bytes = b"") -> bytes:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, input=given, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system with a file in it, in a sparse file."""
    if shutil.which("cryptsetup", path=PATH) is None:
        missing("there is no cryptsetup (package cryptsetup-bin)")
    folder = tmp_path_factory.mktemp("luks")
    (folder / "tree").mkdir()
    (folder / "tree/file").write_text("nobody shall read this\n" * 1000)
    filesystems.write(Spec("ext4", seed="inner"), folder / "plain", 0, SIZE, folder / "tree")
    return folder / "plain"


@pytest.fixture(scope="module")
def images(plain: Path) -> dict[str, Region]:
    """One image for each kind, with a container in the middle."""
    made = {}
    for name, wish in KINDS.items():
        region = Region(plain.parent / name, OFFSET, LUKS_HEADER + SIZE)
        with region.image.open("xb") as file:
            file.truncate(OFFSET + LUKS_HEADER + SIZE + MIB)
        luks.encrypt(plain, region, wish)
        made[name] = region
    return made


def alone(region: Region, target: Path) -> Path:
    """The container as a file of its own."""
    run("dd", f"if={region.image}", f"of={target}", "bs=1M", f"skip={OFFSET // MIB}", f"count={region.length // MIB}")
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_header(images: dict[str, Region], kind: str, tmp_path: Path) -> None:
    """Cryptsetup and blkid read what was asked for: identity, cipher, cost of the key, 16 MiB before the data."""
    device, wish = alone(images[kind], tmp_path / "device"), KINDS[kind]
    run("cryptsetup", "isLuks", "--type", "luks2", "--disable-locks", device)
    words = run("cryptsetup", "luksDump", "--disable-locks", device).decode().split()
    said = " ".join(words)
    assert f"UUID: {wish.volume_id} Label: secret-root" in said
    assert (
        f"offset: {LUKS_HEADER} [bytes] length: (whole device) cipher: {wish.cipher} sector: {wish.sector_size}" in said
    )
    assert f"Cipher key: {wish.key_bits} bits PBKDF: {wish.pbkdf}" in said
    cost = "Iterations: 1000" if kind == "pbkdf2" else "Time cost: 4 Memory: 1024 Threads: 1"
    assert cost in said
    assert "Requirements" not in said  # such as the one that holds while a container is being encrypted
    assert said.count("luks2 Key") == 1
    found = run("blkid", "-p", "-O", str(OFFSET), "-o", "value", "-s", "UUID", images[kind].image)
    assert found.decode().strip() == wish.volume_id


def decrypted(key: bytes, data: bytes, first: int, sector_size: int) -> bytes:
    """AES-XTS by libcrypto, as dm-crypt does it: each sector with the number of its first 512 bytes (plain64)."""
    name = ctypes.util.find_library("crypto")
    if name is None:
        missing("there is no libcrypto (package libssl3)")
    library = ctypes.CDLL(name)
    algorithm = library.EVP_aes_256_xts if len(key) == 64 else library.EVP_aes_128_xts
    algorithm.restype = library.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
    context, kind = ctypes.c_void_p(library.EVP_CIPHER_CTX_new()), ctypes.c_void_p(algorithm())
    made, length = ctypes.create_string_buffer(sector_size), ctypes.c_int()
    pieces = []
    for at in range(0, len(data), sector_size):
        number = ((first + at) // 512).to_bytes(16, "little")
        assert library.EVP_DecryptInit_ex(context, kind, None, key, number) == 1
        piece = data[at : at + sector_size]
        assert library.EVP_DecryptUpdate(context, made, ctypes.byref(length), piece, len(piece)) == 1
        pieces.append(made.raw[: length.value])
    library.EVP_CIPHER_CTX_free(context)
    return b"".join(pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_another_library_reads_the_content(images: dict[str, Region], kind: str, plain: Path, tmp_path: Path) -> None:
    """With the volume key that the passphrase opens, each sector is what dm-crypt would give, blank ones included."""
    device, volume_key = alone(images[kind], tmp_path / "device"), tmp_path / "key"
    dump: list[str | Path] = ["cryptsetup", "luksDump", "--dump-volume-key", "--volume-key-file", volume_key]
    run(*dump, "--batch-mode", "--disable-locks", "--key-file", "-", device, given=KEY)
    key = volume_key.read_bytes()
    assert len(key) * 8 == KINDS[kind].key_bits
    cipher, content = device.read_bytes()[LUKS_HEADER:], plain.read_bytes()
    for first in (0, SIZE // 2, SIZE - MIB):
        assert (
            decrypted(key, cipher[first : first + MIB], first, KINDS[kind].sector_size)
            == (content[first : first + MIB])
        )
    assert bytes(512) not in {cipher[at : at + 512] for at in range(0, SIZE, 512)}
    assert b"nobody shall read this" in content
    assert b"nobody shall read this" not in images[kind].image.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_back_again(images: dict[str, Region], kind: str, plain: Path, tmp_path: Path) -> None:
    """Decrypted, it is the file system that went in; nothing around the region changed."""
    luks.read_back(images[kind], KINDS[kind], tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == plain.read_bytes()
    run("e2fsck", "-f", "-n", tmp_path / "plain")
    with images[kind].image.open("rb") as file:
        assert not any(file.read(OFFSET))
        file.seek(OFFSET + images[kind].length)
        assert file.read() == bytes(MIB)
    assert not [path for path in plain.parent.iterdir() if path.name.startswith(".luks")]


def test_other_passphrase(images: dict[str, Region], tmp_path: Path) -> None:
    """Another passphrase opens nothing, even one that differs by the line end, and the error does not show it."""
    wrong = dataclasses.replace(CHEAP, key=KEY.rstrip(b"\n"))
    with pytest.raises(BuildError) as caught:
        luks.read_back(images["argon2id"], wrong, tmp_path / "plain")
    assert "passphrase" in str(caught.value)
    assert "several" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_wish_that_cryptsetup_refuses(plain: Path, tmp_path: Path) -> None:
    """Its own words come through, and nothing stays behind."""
    region = Region(tmp_path / "image", 0, LUKS_HEADER + SIZE)
    with pytest.raises(BuildError) as caught:
        luks.encrypt(plain, region, dataclasses.replace(CHEAP, cipher="rot13-xts-plain64"))
    assert "cryptsetup reencrypt failed" in str(caught.value)
    assert region.image.stat().st_blocks == 0
