"""What package tools' last lines say of a mirror; the lines are the tools' own, said of faulty servers."""

from __future__ import annotations

import pytest

from stages.repositories.mirror_errors import explain, host

M = "http://127.0.0.1:8080"
TOLD = {
    "zypper, a list is cut off": (
        f"[repo-oss|{M}/leap/repo/oss/] Valid metadata not found at specified URL",
        f" - Timeout exceeded when accessing '{M}/leap/repo/oss/repodata/ea3c-primary.xml.gz'.",
        "Some of the repositories have not been refreshed because of an error.",
        "does not answer, is too slow, or breaks off",
    ),
    "zypper, the server is busy": (
        f" - Location '{M}/repo/oss/repodata/ea3c-primary.xml.gz' is temporarily unaccessible.",
        "does not answer, is too slow, or breaks off",
    ),
    "zypper, a list is not there": (
        f" - File './repodata/ea3c-primary.xml.gz' not found on medium '{M}/repo/oss/'",
        "has not got what its index names",
    ),
    "zypper, a list was changed": (
        f"[repo-oss|{M}/repo/oss/] Valid metadata not found at specified URL",
        " - ea3cbeb-primary.xml.gz has wrong checksum",
        "does not match its index",
    ),
    "zypper, the connection is reset": (
        f" - Download (curl) error for '{M}/repo/oss/repodata/ea3c-primary.xml.gz':",
        "Error code: Curl error 56",
        "Error message: Recv failure: Connection reset by peer",
        "does not answer, is too slow, or breaks off",
    ),
    "dnf, no mirror has the state": (
        "Errors during downloading metadata for repository 'updates':",
        "  - Downloading successful, but checksum doesn't match. Calculated: 46c8(sha256)  Expected: 0ff2(sha256) ",
        f"  - Curl error (7): Couldn't connect to server for {M}/b/repodata/repomd.xml [Failed to connect]",
        (
            "Error: Failed to download metadata for repo 'updates': Cannot download repomd.xml: Cannot download"
            " repodata/repomd.xml: All mirrors were tried"
        ),
        "neither it nor another one has the state any more",
    ),
    "dnf, no mirror answers": (
        "Errors during downloading metadata for repository 'updates':",
        f"  - Curl error (7): Couldn't connect to server for {M}/b/repodata/repomd.xml [Failed to connect]",
        (
            "Error: Failed to download metadata for repo 'updates': Cannot download repomd.xml: Cannot download"
            " repodata/repomd.xml: All mirrors were tried"
        ),
        "does not answer, is too slow, or breaks off",
    ),
    "dnf, a list was changed": (
        "Errors during downloading metadata for repository 'fedora':",
        "  - Downloading successful, but checksum doesn't match. Calculated: 0ba4(sha256)  Expected: 9abd(sha256)",
        "does not match its index",
    ),
    "pacman, a package of another key": (
        "error: bash: signature from Somebody <a@b.invalid> is unknown trust",
        "error: required key missing from keyring",
        "signed with a key that the build does not know",
    ),
    "apk, an index of another key": (
        f"WARNING: opening {M}/v3.23/main/x86_64/APKINDEX.tar.gz: UNTRUSTED signature",
        "ERROR: unable to select packages:",
        "signed with a key that the build does not know",
    ),
    "apk 2, a package was changed": ("ERROR: bash-5.2.37-r0: IO ERROR", "does not match its index"),
    "apk 3, a package was changed": (
        "ERROR: bash-5.2.37-r0: file format is invalid or inconsistent",
        "does not match its index",
    ),
    "apt, a package is not what the index says": (
        f"E: Failed to fetch {M}/debian/pool/extra_1.0_amd64.deb  Hash Sum mismatch",
        "does not match its index",
    ),
}


@pytest.mark.parametrize("lines", TOLD.values(), ids=TOLD.keys())
def test_lines_tell_of_the_mirror(lines: tuple[str, ...]) -> None:
    *tail, what = lines
    found = explain(tail, [f"{M}/somewhere/repomd.xml"])
    assert found is not None
    assert what in found.what
    assert found.what.startswith(f"the mirror {M}: ")
    assert found.hint


def test_other_failures_are_not_the_mirrors() -> None:
    assert explain(["/tmp/in_target.d/install.d/50-motd: line 3: /etc/motdd/x: No such file or directory"]) is None
    assert explain(["Error: Unable to find a match: no-such-package"], [M]) is None
    assert (
        explain(["Retrieving: bash.rpm (404/502) [done]", "(503/812) installing x", "Problem: nothing provides y"])
        is None
    )
    assert explain([]) is None


def test_a_name_that_the_locale_cannot_write_is_not_the_mirrors_fault() -> None:
    lines = (
        f"error: could not open file {M}/ca-certificates: Pathname can't be converted from UTF-8 to current locale.",
        "error: failed to commit transaction (invalid or corrupted package)",
    )
    found = explain(lines, [M])
    assert found is not None
    assert "LC_ALL=C" in found.what
    assert "mirror" not in found.what
    assert "LC_ALL=C.UTF-8" in found.hint


def test_the_nearest_address_is_named_and_nobodys_password() -> None:
    found = explain([f"{M}/a done", "Get:1 http://u:p@second.invalid/b", "Connection refused", f"{M}/c done"])
    assert found is not None
    assert "http://second.invalid: " in found.what
    assert host("https://me:secret@m.invalid:80/x") == "https://m.invalid:80"
