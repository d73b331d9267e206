"""Upstream's elements, unmodified, on upstream's debian-minimal: what they leave, and diskimage-builder's own tree.

One build of ten elements that stand side by side on a system, made twice on the same mirror at the same time: by
dib-ctr and by diskimage-builder itself as root. What may differ is written in ``tests/compat/expected.yaml``; anything
else fails. The harness's table for these elements is printed, whatever the outcome.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests import upstream
from tests.compat import compare, dib
from tests.compat.results import SAME, Result, listed
from tests.compat.runs import Run, prepare, together
from tests.compat.table import Row, rows
from tests.integration.engine_cases import missing

pytestmark = [pytest.mark.slow, pytest.mark.thorough("ten elements built by diskimage-builder, too: minutes")]

SETUP = Path(__file__).parents[1] / "compat/setup"
NAMES = (
    "devuser",
    "dhcp-all-interfaces",
    "dynamic-login",
    "enable-serial-console",
    "fail2ban",
    "growroot",
    "journal-to-console",
    "openssh-server",
    "runtime-ssh-host-keys",
    "sysctl",
)


@dataclass(frozen=True)
class Built:
    """Both trees of the one build, and how the comparison ended."""

    run: Run
    row: Row
    table: tuple[Row, ...]
    result: Result

    @property
    def ours(self) -> Path:
        """The tar that dib-ctr wrote."""
        return self.run.output(self.row)

    def differences(self) -> str:
        """The report of the comparison, unexpected differences by class."""
        file = self.run.folder / "differences" / self.row.name
        return file.read_text() if file.exists() else self.result.reason


@pytest.fixture(scope="module")
def dib_itself() -> None:
    """diskimage-builder with all that it needs, installed by the harness's own set-up."""
    if os.getuid() != 0:
        missing("only root can run diskimage-builder")
    done = subprocess.run([SETUP, dib.VENV], capture_output=True, text=True, check=False, timeout=900)
    if done.returncode != 0:
        missing(f"diskimage-builder {upstream.VERSION} could not be installed:\n{(done.stdout + done.stderr)[-2000:]}")


@pytest.fixture(scope="module")
def built(dib_itself: None) -> Iterator[Built]:
    """The ten elements in one build, made by both programs side by side."""
    folder = Path(tempfile.mkdtemp(prefix="dib-ctr-test-", dir="/var/tmp"))
    try:
        run = Run("host", folder, compare=True)
        prepare(run)
        table = tuple(row for row in rows() if row.name in NAMES)
        assert len(table) == len(NAMES)
        row = together(table)
        with ThreadPoolExecutor(max_workers=2) as pool:
            theirs = pool.submit(run.made_by_dib, row)
            made = run.made(row)
            theirs.result()
        result = run.compared(row, made.seconds) if run.output(row).exists() else made
        yield Built(run, row, table, result)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_tree_is_the_one_that_diskimage_builder_makes(
    built: Built, record_property: Callable[[str, object], None]
) -> None:
    reason = built.result.reason or f"in one build with {len(built.table) - 1} others"
    found = [Result(row.name, built.result.state, reason) for row in built.table]
    lines = (
        *listed(built.table, found),
        f"{len(found)} elements together: {built.result.state}, {built.result.seconds:.0f} s",
    )
    record_property("table", "\n".join(lines))
    assert built.result.state == SAME, built.differences()


def test_a_difference_that_is_not_on_the_list_counts(built: Built) -> None:
    """The comparison of these very trees can fail: a list without one of its entries lets that difference through."""
    found = compare.differences(compare.read(built.ours), compare.read(built.run.reference(built.row)))
    listed_ones = compare.expectations(compare.EXPECTED.read_text())
    report = compare.judge(found, [entry for entry in listed_ones if entry.pattern != "etc/fstab"])
    assert [each.path for each in report.unexpected] == ["etc/fstab"]
    tree = compare.read(built.ours)
    sudoers = "etc/sudoers.d/tester"
    changed = compare.Tree({**tree.files, sudoers: replace(tree.files[sudoers], mode=0o666)}, tree.packages)
    assert [(each.kind, each.path) for each in compare.differences(changed, tree)] == [("mode", sudoers)]


@pytest.fixture(scope="module")
def files(built: Built) -> Iterator[tarfile.TarFile]:
    """The tree that dib-ctr made."""
    assert built.ours.exists(), built.result.reason
    with tarfile.open(built.ours) as archive:
        yield archive


def text(archive: tarfile.TarFile, path: str) -> str:
    """A file of the tree."""
    opened = archive.extractfile(path)
    assert opened is not None, path
    return opened.read().decode()


def exists(archive: tarfile.TarFile, path: str) -> bool:
    """Whether the tree has this path."""
    return path in archive.getnames()


def enabled(archive: tarfile.TarFile, unit: str, target: str = "multi-user.target.wants") -> str:
    """What the link that starts a unit at boot leads to."""
    return archive.getmember(f"etc/systemd/system/{target}/{unit}").linkname


def test_each_element_leaves_what_it_is_for(files: tarfile.TarFile) -> None:
    # devuser: an account that may become root, with the key given
    assert "tester:x:" in text(files, "etc/passwd")
    assert text(files, "etc/sudoers.d/tester") == "tester ALL=(ALL) NOPASSWD:ALL\n"
    keys = files.getmember("home/tester/.ssh/authorized_keys")
    assert (keys.uid, keys.mode & 0o077) != (0, 0o077)
    assert text(files, "home/tester/.ssh/authorized_keys") == (SETUP.parent / "files/key.pub").read_text()
    # dhcp-all-interfaces, growroot, dynamic-login: a program and the unit that starts it
    assert files.getmember("usr/local/sbin/dhcp-all-interfaces.sh").mode & 0o111
    assert exists(files, "etc/udev/rules.d/99-dhcp-all-interfaces.rules")
    for program, unit in (
        ("usr/local/sbin/growroot", "growroot.service"),
        ("usr/local/bin/dynamic-login", "dynamic-login.service"),
        ("usr/local/sbin/runtime-ssh-host-keys.sh", "ssh-keygen.service"),
    ):
        assert files.getmember(program).mode & 0o111
        assert enabled(files, unit).endswith(unit)
    # openssh-server with runtime-ssh-host-keys: a server, and no key of the machine that built
    assert enabled(files, "ssh.service").endswith("ssh.service")
    assert exists(files, "usr/sbin/sshd")
    assert not [name for name in files.getnames() if name.startswith("etc/ssh/ssh_host_")]
    # fail2ban: its configuration as given by variable
    assert text(files, "etc/fail2ban/jail.local") == (SETUP.parent / "files/jail.local").read_text()
    assert enabled(files, "fail2ban.service").endswith("fail2ban.service")
    # journal-to-console, enable-serial-console, sysctl
    assert "console" in text(files, "etc/systemd/journald.conf.d/log-to-console.conf").lower()
    assert exists(files, "etc/udev/rules.d/99-serial-console.rules")
    assert exists(files, "usr/local/bin/sysctl-set-value")
