"""What the kernel is told to recognise a foreign program by."""

from __future__ import annotations

import pytest

from qemu.architecture import ARCHITECTURES, canonical, runs
from qemu.binfmt import magic, registration

# The first 20 bytes of real /bin/true of Debian packages (position-independent executables have type 3).
HEADERS = {
    "arm64": "7f454c460201010000000000000000000300b700",
    "armhf": "7f454c4601010100000000000000000003002800",
    "ppc64el": "7f454c4602010100000000000000000003001500",
    "riscv64": "7f454c460201010000000000000000000300f300",
    "s390x": "7f454c4602020100000000000000000000030016",
    "i386": "7f454c4601010100000000000000000003000300",
    "amd64": "7f454c4602010100000000000000000003003e00",
}


def matches(header: bytes, name: str) -> bool:
    content, mask = magic(ARCHITECTURES[name])
    return all(have & bits == want & bits for have, want, bits in zip(header, content, mask, strict=True))


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_each_header_is_recognised_as_its_own_architecture_only(name: str) -> None:
    header = bytes.fromhex(HEADERS[name])
    assert [other for other in sorted(ARCHITECTURES) if matches(header, other)] == [name]


def test_the_registration_line_is_as_the_kernel_wants_it() -> None:
    line = registration(ARCHITECTURES["arm64"], "/usr/bin/qemu-aarch64")
    assert line.startswith(rb":dib-ctr-arm64:M::\x7f\x45\x4c\x46\x02\x01\x01")
    assert line.endswith(b":/usr/bin/qemu-aarch64:OCF")
    assert len(line) < 1920, "the kernel's limit"


def test_names_of_others_are_understood() -> None:
    assert canonical("x86_64") == "amd64"
    assert canonical("aarch64") == "arm64"
    assert canonical("vax") is None
    assert runs("amd64", "i386")
    assert not runs("i386", "amd64")
