"""The Debian mirror is found in any form that apt's configuration has."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from stages.repositories.apt_sources import SETTINGS, Mirror, debian_mirror

DEB822 = """
Types: deb deb-src
# a comment in between
URIs: http://mirror.test/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs:
 http://mirror.test/debian-security
Suites: bookworm-security
Components: main
"""


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /etc/apt."""
    monkeypatch.delenv("DIB_CTR_DEBIAN_MIRROR", raising=False)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822(etc: Path) -> None:
    """Fields may go on in the next line; sources of other makers do not count."""
    (etc / "sources.list.d/a.sources").write_text("Types: deb\nURIs: http://other.test/node\nSuites: nodistro\n")
    (etc / "sources.list.d/debian.sources").write_text(DEB822)
    found = debian_mirror(etc)
    assert found == Mirror("http://mirror.test/debian", "http://mirror.test/debian-security")
    assert found.sources("trixie").splitlines() == [
        "deb http://mirror.test/debian trixie main",
        "deb http://mirror.test/debian-security trixie-security main",
    ]


def test_disabled_entries_do_not_count(etc: Path) -> None:
    """Enabled: no."""
    (etc / "sources.list.d/debian.sources").write_text(DEB822.replace("Types", "Enabled: no\nTypes"))
    with pytest.raises(BuildError):
        debian_mirror(etc)


def test_one_line(etc: Path) -> None:
    """The old form, with options and comments."""
    (etc / "sources.list").write_text(
        "# deb http://wrong.test/debian trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] https://mirror.test/debian trixie main contrib\n"
        "deb https://mirror.test/debian-security trixie-security main\n"
    )
    assert debian_mirror(etc) == Mirror("https://mirror.test/debian", "https://mirror.test/debian-security")


def test_list_of_mirrors(etc: Path) -> None:
    """mirror+file: names a file with addresses, as cloud images have it."""
    (etc / "mirrors").write_text("https://mirror.test/debian\nhttps://second.test/debian\n")
    (etc / "sources.list").write_text(f"deb mirror+file:{etc}/mirrors trixie main\n")
    assert debian_mirror(etc) == Mirror("https://mirror.test/debian")


def test_ubuntu_names_no_debian_mirror(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says how to name one, and naming one works."""
    (etc / "sources.list").write_text("deb http://archive.test/ubuntu noble main\n")
    with pytest.raises(BuildError) as raised:
        debian_mirror(etc)
    assert "DIB_CTR_DEBIAN_MIRROR" in raised.value.hint
    monkeypatch.setenv("DIB_CTR_DEBIAN_MIRROR", "http://mirror.test/debian")
    assert debian_mirror(etc) == Mirror("http://mirror.test/debian")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('Acquire::Check-Valid-Until "false";', True),
        ('Acquire::Retries "3";', True),
        ('Acquire::http::Proxy "http://proxy.test:3128";', True),
        ('Acquire::http::Proxy::mirror.test "DIRECT";', True),
        ('Acquire::http::Proxy-Auto-Detect "/usr/bin/detect";', False),
        ('Acquire::https::CAInfo "/etc/ca.pem";', False),
        ('Acquire::IndexTargets::deb::Packages::Optional "0";', False),
        ('Acquire::http::Proxy "";', False),
    ],
)
def test_settings(line: str, wanted: bool) -> None:
    """What a mirror needs goes along; what names a file of this machine does not."""
    assert bool(SETTINGS.fullmatch(line)) is wanted
