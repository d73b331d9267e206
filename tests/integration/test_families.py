"""The shared elements in every family, together: a machine of each synthetic mirror is set up by a seed, lets a key in.

They run by ``just test-all`` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command import Command
from tests.integration.synthetic import boot, mirrors_folder
from tests.mirrors.catalogue import SERVERS

pytestmark = [pytest.mark.slow, pytest.mark.thorough("a machine of each family, built and booted: minutes each")]

SYSTEMS = {"fedora": "43", "opensuse": "15.6", "arch": "rolling", "ubuntu": "noble"}
ELEMENTS = (
    *("base", "cloud-init", "cloud-init-datasources", "devuser", "enable-serial-console", "growroot", "manifests"),
    *("openssh-server", "package-installs", "runtime-ssh-host-keys", "svc-map", "sysprep", "vm"),
)
SETTINGS = {
    "DIB_CLOUD_INIT_DATASOURCES": "NoCloud, None",
    "DIB_DEV_USER_USERNAME": "worker",
    "DIB_DEV_USER_PWDLESS_SUDO": "yes",
    "DIB_DEV_USER_PASSWORD": "not-a-secret",
}
# What the machine says of itself, once cloud-init has come to its end.
USER_DATA = """\
#cloud-config
runcmd:
  - - sh
    - -c
    - >-
      echo RESULT $(cat /proc/sys/kernel/hostname) $(sudo -u worker sudo -n id -u)
      $(df --output=size -BM / | tail -1) END > /dev/ttyS0
"""
BOOT_TIME = 1500  # seconds


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "families")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_machine_with_all_shared_elements(folder: Path, tmp_path: Path, system: str) -> None:
    """Built with all of them, grown to a larger disk, set up by a NoCloud seed, and logged in to by the seed's key."""
    release = SYSTEMS[system]
    command = Command("host", folder / "store", folder / f"{system}-out", ())
    with SERVERS[system](folder / f"{system}-mirror", release, "amd64") as variables:
        settings = {**variables, **SETTINGS, "DIB_RELEASE": release}
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command.build(*options, "--output", "raw", "--name", "machine", f"{system}-minimal", *ELEMENTS)
    disk = command.destination / "machine.raw"
    os.truncate(disk, 4 << 30)
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "user-data").write_text(USER_DATA)
    (seed / "meta-data").write_text(f"local-hostname: of-{system}\n")
    log = tmp_path / "console"
    ways = ("--firmware", "bios", "--seed", str(seed), "--ssh", "--expect", "RESULT .* END", "--log", str(log))
    boot(disk, "--timeout", str(BOOT_TIME), *ways)
    found = next(line for line in log.read_text(errors="replace").splitlines() if "RESULT" in line and "END" in line)
    _, host, worker, size, _ = found[found.index("RESULT") :].split()[:5]
    assert host.partition(".")[0] == f"of-{system}"
    assert worker == "0"  # the user may become root without a password
    assert int(size.removesuffix("M")) > 3 * 1024
