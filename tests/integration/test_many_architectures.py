"""Outputs of several architectures from one command: where each lies, what goes with it, and that the name is right."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from qemu.architecture import native
from tests.integration.command import Command

pytestmark = pytest.mark.skipif(native() != "amd64", reason="the second architecture runs natively on amd64 alone")


@pytest.mark.thorough("builds for two architectures; `just test` has a foreign one (test_foreign.py)")
def test_each_output_lies_where_it_belongs_on_any_disk(place: Path) -> None:
    command = Command("host", place / "store", place / "out")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # another disk than the destination's
        other = Path(name) / "below"
        outputs = (
            "-o",
            "tar,checksum=sha256",
            "-o",
            f"oci,dest={other}/both.oci",
            "-o",
            f"oci-archive,dest={other}/b.tar",
        )
        for _ in range(2):  # the second time it replaces what it wrote
            command.build("--arch", "amd64,i386", *outputs, "tiny-os")
        index = json.loads((other / "both.oci/index.json").read_bytes())
        assert len(index["manifests"]) == 1, "one index over both"
        assert {path.name for path in other.iterdir() if not path.name.endswith(".json")} == {"both.oci", "b.tar"}
        assert {f"both.oci.{arch}.cdx.json" for arch in ("amd64", "i386")} <= {path.name for path in other.iterdir()}
    done = ["sha256sum", "--check", "tiny-os-amd64.tar.sha256", "tiny-os-i386.tar.sha256"]
    subprocess.run(done, cwd=command.destination, check=True, stdout=subprocess.DEVNULL)
    assert not [path for path in command.destination.iterdir() if path.name.startswith(".")]
