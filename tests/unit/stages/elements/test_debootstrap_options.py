"""debootstrap's options, as mmdebstrap is called for them: a stand-in writes down how."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN

SCRIPT = BUILTIN / "debootstrap/root.d/08-debootstrap"
SOURCES = "default:deb http://mirror.invalid/debian trixie main\nown:deb [arch=amd64] http://own.invalid/ x y\n"


class Call:
    """One run of the script up to mmdebstrap."""

    def __init__(self, folder: Path, **variables: str) -> None:
        """Run it; ``variables`` are those of the build."""
        (folder / "bin").mkdir()
        (folder / "tree").mkdir()
        (folder / "keyring").write_text("key")
        stand_in = folder / "bin/mmdebstrap"
        stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/called\nexit 9\n')
        stand_in.chmod(0o755)
        self.done = subprocess.run(
            [SCRIPT],
            env={
                "PATH": f"{folder}/bin:{os.environ['PATH']}",
                "TARGET_ROOT": str(folder / "tree"),
                "ARCH": "amd64",
                "DIB_RELEASE": "trixie",
                "DIB_APT_DEFAULT_KEYRING": str(folder / "keyring"),
                "DIB_APT_SOURCES_CONF": SOURCES,
                **variables,
            },
            check=False,
            capture_output=True,
            text=True,
        )
        called = folder / "called"
        self.words = called.read_text().splitlines() if called.exists() else []
        self.sources = [word for word in self.words if word.startswith("deb ")]


def test_without_options_the_sources_are_signed_by_the_keyring(tmp_path: Path) -> None:
    call = Call(tmp_path)
    assert call.done.returncode == 9
    assert call.sources == [
        f"deb [signed-by={tmp_path}/keyring] http://mirror.invalid/debian trixie main",
        f"deb [signed-by={tmp_path}/keyring arch=amd64] http://own.invalid/ x y",
    ]


@pytest.mark.parametrize("name", ["DIB_DEBOOTSTRAP_EXTRA_ARGS", "DIB_MMDEBSTRAP_EXTRA_ARGS"])
def test_options_of_mmdebstrap_go_to_it_and_quotes_keep_words_together(tmp_path: Path, name: str) -> None:
    given = """--include=gnupg,less --merged-usr  --variant minbase --aptopt='APT::X "a b"' --verbose"""
    words = Call(tmp_path, **{name: given}).words
    for word in ("--include=gnupg,less", "--variant", "minbase", '--aptopt=APT::X "a b"', "--verbose"):
        assert word in words
    assert "--merged-usr" not in words


def test_no_check_gpg_trusts_the_bootstraps_sources(tmp_path: Path) -> None:
    call = Call(tmp_path, DIB_DEBOOTSTRAP_EXTRA_ARGS="--no-check-gpg", DIB_APT_KEYRING="/nonexistent/keyring")
    assert call.done.returncode == 9
    assert "--no-check-gpg" not in call.words
    assert [source.split("]")[0] for source in call.sources] == [
        "deb [trusted=yes signed-by=/nonexistent/keyring ".rstrip(),
        "deb [trusted=yes signed-by=/nonexistent/keyring arch=amd64",
    ]


def test_a_keyring_and_certificates_are_apts(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("key")
    given = f"--keyring={tmp_path}/other --no-check-certificate --certificate=/c.pem --private-key=/k.pem"
    call = Call(tmp_path, DIB_DEBOOTSTRAP_EXTRA_ARGS=given)
    assert call.sources[0].startswith(f"deb [signed-by={tmp_path}/other]")
    for setting in ('Verify-Peer "false"', 'SslCert "/c.pem"', 'SslKey "/k.pem"'):
        assert f"--aptopt=Acquire::https::{setting}" in call.words


@pytest.mark.parametrize("option", ["--exclude=less", "--extra-suites=backports", "--no-merged-usr", "--foreign"])
def test_what_cannot_be_had_is_refused_by_name(tmp_path: Path, option: str) -> None:
    call = Call(tmp_path, DIB_DEBOOTSTRAP_EXTRA_ARGS=f"--include=less {option}")
    assert call.done.returncode == 1
    assert f"{option} of DIB_DEBOOTSTRAP_EXTRA_ARGS is not supported" in call.done.stderr
    assert call.words == []


def test_a_quote_without_its_end_is_refused(tmp_path: Path) -> None:
    call = Call(tmp_path, DIB_DEBOOTSTRAP_EXTRA_ARGS="--include='less")
    assert call.done.returncode not in (0, 9)
    assert call.words == []


def test_a_keyring_that_is_not_there_is_refused(tmp_path: Path) -> None:
    call = Call(tmp_path, DIB_APT_KEYRING="/nonexistent/keyring")
    assert call.done.returncode == 1
    assert "set DIB_APT_KEYRING" in call.done.stderr
