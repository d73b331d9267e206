"""An s390x disk that starts by itself, and whose machine's own zipl writes the boot record anew.

Debian bookworm's main suite alone: mirrors may have newer lists of s390x's other suites than their index says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.repositories.apt_sources import debian_mirror
from tests.integration.command import Command, script, write_element

pytestmark = [pytest.mark.slow, pytest.mark.thorough("builds and boots s390x, interpreted: a quarter of an hour")]

# At its first start the machine runs zipl, with one word more for the kernel, and restarts; at the second it says so.
# QEMU's emulation knows one of two ways to restart, which is not the kernel's first choice.
AGAIN = {
    "install.d/60-again": script(
        "cat > /usr/local/sbin/again << 'END'",
        "#!/bin/sh",
        "exec > /dev/console 2>&1",
        'case " $(cat /proc/cmdline) " in',
        '*" taken-over "*) echo "zipl took over END"; exit 0 ;;',
        "esac",
        "set -eu",
        "sed -i 's/^parameters=\"/&taken-over /' /etc/zipl.conf",
        "zipl -V",
        "echo 1 > /sys/firmware/reipl/ccw/clear",
        "systemctl reboot",
        "END",
        "chmod 0755 /usr/local/sbin/again",
        "cat > /etc/systemd/system/again.service << 'END'",
        "[Service]",
        "Type=oneshot",
        "ExecStart=/usr/local/sbin/again",
        "[Install]",
        "WantedBy=multi-user.target",
        "END",
        "systemctl enable again.service",
    ),
}


@pytest.fixture(scope="module")
def host(open_folder: Path) -> Iterator[Command]:
    folder = open_folder / "zipl"
    (folder / "elements").mkdir(parents=True)
    command = Command("host", folder / "store", folder / "out", (folder / "elements",))
    yield command
    if os.geteuid() != 0:
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", command.store], check=False)


def built(host: Command, name: str, kind: str, *elements: str) -> Path:
    """A disk of Debian bookworm for s390x."""
    sources = f"default:deb {debian_mirror().archive} bookworm main"
    host.build(
        *("--arch", "s390x", "--release", "bookworm", "--set", f"DIB_APT_SOURCES_CONF={sources}"),
        *("-o", kind, "--name", name, "debian-minimal", "vm", *elements),
    )
    return host.destination / f"{name}.{kind}"


def said(*arguments: str | Path) -> str:
    """What a command of dib-ctr prints; its failure is the test's."""
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_default_disk_starts_by_itself(host: Command) -> None:
    image = built(host, "default", "qcow2")
    found = said("disk", "inspect", image)
    assert "boots by channel I/O: yes, zIPL's boot record loads" in found
    assert "from partition 1, and starts Linux" in found
    console = said("boot", "--arch", "s390x", "--timeout", "900", image)
    assert "Kernel command line: root=LABEL=cloudimg-rootfs ro console=ttysclp0" in console
    assert "booted by ccw under" in console


def test_the_machines_own_zipl_takes_over(host: Command) -> None:
    """On the layers of the test before, with a GPT."""
    write_element(host.elements[0], "again", AGAIN)
    image = built(host, "again", "raw", "block-device-gpt", "again")
    assert "zIPL boot" in said("disk", "inspect", image)
    console = said("boot", "--arch", "s390x", "--timeout", "1800", "--expect", "^zipl took over END", image)
    assert "Writing SCSI master boot record" in console
