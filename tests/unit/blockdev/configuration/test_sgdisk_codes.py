"""Type codes of GPT partitions are those of sgdisk: each is compared with what the program itself writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from blockdev.configuration import types
from blockdev.configuration.read import read
from blockdev.configuration.sgdisk_codes import GUIDS
from blockdev.core.errors import UsageError
from blockdev.layout.options import Options
from blockdev.layout.plan import plan

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
SGDISK = shutil.which("sgdisk", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
AT_ONCE = 120  # a table has 128 entries
ENTRIES, ENTRY = 1024, 128


def written_by_sgdisk(codes: list[str], image: Path) -> dict[str, str]:
    """The GUID that sgdisk writes for each of the codes that it knows."""
    assert SGDISK
    found = {}
    for start in range(0, len(codes), AT_ONCE):
        some = codes[start : start + AT_ONCE]
        image.unlink(missing_ok=True)
        with image.open("wb") as file:
            file.truncate(256 << 20)
        words = [word for n, code in enumerate(some, 1) for word in ("-n", f"{n}:0:+1M", "-t", f"{n}:{code}")]
        done = subprocess.run([SGDISK, str(image), *words], capture_output=True, text=True, check=True)
        unknown = re.findall(r"match not found for type code ([0-9A-F]{4})", done.stdout + done.stderr)
        table = image.read_bytes()[ENTRIES : ENTRIES + 128 * ENTRY]
        for n, code in enumerate(some):
            if code.upper() not in unknown:
                found[code] = str(uuid.UUID(bytes_le=table[n * ENTRY : n * ENTRY + 16])).upper()
    return found


@pytest.mark.skipif(not SGDISK, reason="no sgdisk (Debian's gdisk)")
def test_each_code_of_sgdisk_has_its_guid(tmp_path: Path) -> None:
    listed = subprocess.run([str(SGDISK), "-L"], capture_output=True, text=True, check=True).stdout
    codes = re.findall(r"(?:^|\s)([0-9a-f]{4}) (?=\S)", listed)
    assert len(codes) > 200
    assert set(codes) <= GUIDS.keys(), "sgdisk has new codes"
    real = written_by_sgdisk(sorted(GUIDS), tmp_path / "disk")
    assert set(codes) <= real.keys()  # (an older sgdisk than 1.0.10 does not know all)
    assert {code: types.of_gpt(code) for code in real} == real


@pytest.mark.parametrize(
    ("text", "guid"),
    [
        ("8314", "8484680C-9521-48C6-9C11-B0720656F69E"),
        ("8315", "7D0359A3-02B3-4F0A-865C-654403E70625"),
        ("EF00", types.ESP),
        ("0xef00", types.ESP),
        ("700", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"),
        (types.ESP.lower(), types.ESP),
        (types.ESP.replace("-", ""), types.ESP),
        (f"{{{types.ESP}}}", types.ESP),
        ("ef03", LINUX),
        ("83", LINUX),
    ],
)
def test_forms_of_a_type(text: str, guid: str) -> None:
    assert types.of_gpt(text) == guid


@pytest.mark.parametrize("text", ["", "0", "0000", "linux", "8300 ", "12345", types.ESP[:-1], f"{{{types.ESP}"])
def test_no_types(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        types.of_gpt(text)


CONFIGURATION = """
- local_loop: {{name: image0}}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {{name: root, size: 100%, type: '{}', mkfs: {{type: ext4, mount: {{mount_point: /}}}}}}
"""


@pytest.mark.parametrize(("text", "hint"), [("ef03", "sgdisk -L"), ("83", "8300, if the MBR's 83 is meant")])
def test_a_code_that_sgdisk_does_not_know_is_linux_and_remarked_on(text: str, hint: str) -> None:
    layout = plan(read(CONFIGURATION.format(text), "f.yaml"), Options(size=1 << 30), 0)
    assert layout.disks[0].slots[0].type == LINUX
    (remark,) = layout.remarks
    assert "f.yaml:7" in remark
    assert f"sgdisk has no type {text!r}" in remark
    assert hint in remark


def test_the_strict_form_refuses_it() -> None:
    strict = "version: 2\nblock-device:" + CONFIGURATION.format("ef03")
    with pytest.raises(UsageError, match="type is 'ef03'"):
        read(strict, "f.yaml")
