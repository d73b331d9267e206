"""What outside stages see of a build image, and that a host's key covers it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.build_image import ensure
from builder.engines.host import Host
from stages.sandbox import system

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
alice:x:1000:1000:Alice:/home/alice:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
build:x:1879048192:1879048192:build user:/tmp:/usr/sbin/nologin
+nis
"""


def test_scripts_know_the_systems_accounts_and_no_people() -> None:
    names = [line.partition(":")[0] for line in system.accounts(PASSWD).splitlines()]
    assert names == ["root", "_apt", "nobody"]
    assert system.accounts("sudo:x:27:alice,bob\nalice:x:1000:\n") == "sudo:x:27:\n"


def test_nothing_shown_holds_secrets_or_people() -> None:
    shown = set(system.ETC)
    assert not shown & {"passwd", "group", "shadow", "gshadow", "sudoers", "ssh", "machine-id", "hostname", "hosts"}
    assert not any("auth" in name or "private" in name or "sources" in name for name in shown)


@pytest.mark.parametrize("change", ["content", "new", "removed", "link"])
def test_a_change_of_what_is_shown_changes_the_state(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "one").write_text("1")
    (folder / "link").symlink_to("one")
    for path in (folder / "one", folder):
        os.utime(path, ns=(0, 0))
    before = list(system._state(str(folder)))
    if change == "content":
        (folder / "one").write_text("2")
    elif change == "new":
        (folder / "two").write_text("")
    elif change == "removed":
        (folder / "one").unlink()
    else:
        (folder / "fresh").symlink_to("two")
        (folder / "fresh").replace(folder / "link")
    assert list(system._state(str(folder))) != before


def test_a_hosts_key_covers_what_its_stages_see(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ensure.digest(Host())
    assert ensure.digest(Host()) == before
    monkeypatch.setattr(system, "state", lambda: "another machine's")
    assert ensure.digest(Host()) != before
