"""The date of a repository's index, as each kind of index says it."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from stages.repositories.index_date import index_date


def _archive(members: dict[str, str], mode: str = "w:gz") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.mark.parametrize(
    ("address", "text", "date"),
    [
        ("http://m/dists/x/InRelease", "Origin: x\nDate: Sat, 01 Nov 2025 10:00:00 UTC\n", 1761991200),
        ("http://m/dists/x/InRelease", "Origin: x\nDate: someday\n", 0),
        ("http://m/repodata/repomd.xml", "<repomd><revision>1761991200</revision></repomd>", 1761991200),
        ("http://m/repodata/repomd.xml", "<repomd><revision>20251101100000</revision></repomd>", 1761991200),
        (
            "http://m/repodata/repomd.xml?x=1",
            "<revision>9</revision><timestamp>5</timestamp><timestamp>1761991200</timestamp>",
            1761991200,
        ),
        ("http://m/latest-stage3-amd64-openrc.txt", "# Latest as of Sat, 01 Nov 2025 10:00:00 +0000\n", 1761991200),
        ("http://m/latest-stage3-amd64-openrc.txt", "20251101/stage3.tar.xz 5\n", 0),
        ("http://m/x86-64/Packages", "ARCH: amd64\nTIMESTAMP: 1761991200\n\nCPV: a/b-1\n", 1761991200),
        ("http://m/x86-64/Packages", "ARCH: amd64\n\nCPV: a/b-1\nTIMESTAMP: 1761991200\n", 0),
        ("http://m/gentoo-latest.tar.xz.gpgsig", "no signature\n", 0),
    ],
)
def test_a_text_says_its_date(address: str, text: str, date: int) -> None:
    assert index_date(address, text.encode()) == date


def test_a_database_is_as_new_as_its_newest_package() -> None:
    database = _archive(
        {"a-1/desc": "%NAME%\na\n\n%BUILDDATE%\n5\n", "b-1/desc": "%BUILDDATE%\n1761991200\n", "b-1/files": "x"}
    )
    assert index_date("http://m/core/os/x86_64/core.db", database) == 1761991200
    assert index_date("http://m/core/os/x86_64/core.db", b"no archive") == 0


def test_a_signed_apk_index_is_two_archives() -> None:
    signature = gzip.compress(gzip.decompress(_archive({".SIGN.RSA.key": "sig"}))[:1024])
    index = signature + _archive({"DESCRIPTION": "v1", "APKINDEX": "P:a\nt:5\n\nP:b\nt:1761991200\n"})
    assert index_date("http://m/main/x86_64/APKINDEX.tar.gz", index) == 1761991200
    assert index_date("http://m/main/x86_64/APKINDEX.tar.gz", index[:-20]) in (0, 1761991200)
