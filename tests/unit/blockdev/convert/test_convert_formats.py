"""What may be asked for, and the sentences where it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockdev.convert import formats
from blockdev.convert.formats import FORMATS, Wish
from blockdev.core.errors import UsageError

WISH = Wish(format="qcow2", name="disk", epoch=1_763_800_000, seed="seed")


def test_names_and_aliases_are_found_in_any_case() -> None:
    """What people type for -t leads to one format each."""
    asked = "qcow2,VMDK,vhd,vhdx,vdi,raw,gzip,vpc"
    assert [form.name for form in formats.listed(asked)] == ["qcow2", "vmdk", "vhd", "vhdx", "vdi", "raw", "raw.gz"]


def test_no_name_means_two_formats() -> None:
    """Names and aliases are all different."""
    names = [name for form in FORMATS for name in (form.name, *form.aliases)]
    assert len(names) == len(set(names))


def test_defaults() -> None:
    """qcow2 in zstd, an ESXi disk on SCSI, levels of their own."""
    assert formats.plan(WISH).options == {"compression_type": "zstd"}
    assert formats.plan(replace(WISH, format="raw.zst")).level == 9
    assert formats.plan(replace(WISH, format="vmdk")).options["adapter_type"] == "lsilogic"
    assert formats.plan(replace(WISH, format="vmdk", options={"adapter_type": "ide"})).options["adapter_type"] == "ide"


def test_an_old_qcow2_falls_back_to_zlib() -> None:
    """Version 2 of the format has no zstd."""
    chosen = formats.plan(replace(WISH, options={"compat": "0.10"}))
    assert (chosen.compression, "compression_type" in chosen.options) == ("zlib", False)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"format": "tar"}, "there is no disk format 'tar'"),
        ({"compression": "lzma"}, "qcow2 cannot be compressed with 'lzma'"),
        ({"format": "vdi", "compression": "zlib"}, "vdi cannot be compressed with 'zlib'"),
        ({"level": 3}, "qcow2 has no compression levels"),
        ({"format": "raw.xz", "level": 10}, "raw.xz has no compression level 10"),
        ({"format": "raw.gz", "level": 0}, "raw.gz has no compression level 0"),
        ({"options": {"backing_file": "x"}}, "the option 'backing_file' would not give this disk as one whole image"),
        ({"options": {"encrypt.format": "luks"}}, "the option 'encrypt.format' would not give"),
        ({"options": {"compression_type": "zlib"}}, "the compression is not chosen by qemu-img's options"),
        ({"options": {"compat": "v2"}, "compression": "zstd"}, "a qcow2 image of compat=0.10 cannot be compressed"),
        ({"format": "vmdk", "options": {"subformat": "x"}}, "vmdk has subformat=streamOptimized, always"),
        ({"format": "raw", "options": {"a": "b"}}, "raw has no options"),
        ({"name": "a/b"}, "an image cannot be named 'a/b'"),
        ({"name": 'a"b'}, "an image cannot be named"),
        ({"name": ""}, "an image cannot be named ''"),
        ({"name": "ä" * 101}, "an image cannot be named"),
        ({"checksums": ("crc",)}, "there is no checksum 'crc'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], what: str) -> None:
    """Each bad wish gets a sentence of its own and status 2."""
    with pytest.raises(UsageError) as caught:
        formats.plan(replace(WISH, **changes))  # type: ignore[arg-type]
    assert caught.value.what.startswith(what)


def test_the_hint_names_what_there_is() -> None:
    """Who asks for another subformat hears how to get it."""
    with pytest.raises(UsageError) as caught:
        formats.plan(replace(WISH, format="vmdk", options={"subformat": "monolithicSparse"}))
    assert caught.value.hint == "ask for the format vmdk-sparse instead"
