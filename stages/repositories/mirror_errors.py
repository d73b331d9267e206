"""What a package tool's last lines say of the mirror, and what to do about it; for apt, dnf, zypper, pacman and apk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ADDRESS = re.compile(r"(?:https?|ftp)://[^\s'\"<>\])]+")
_KEYS = "(DIB_RPM_KEYS, DIB_APT_KEYRING, DIB_ARCH_KEYRING, DIB_ALPINE_KEYS)"
_OTHER = "name another mirror (--set DIB_DISTRIBUTION_MIRROR=ADDRESS), or build again later"


@dataclass(frozen=True)
class MirrorFault:
    """What is wrong with a mirror, in a sentence with its ``address`` where that is known, and the next thing to do."""

    what: str
    hint: str


@dataclass(frozen=True)
class _Kind:
    """A kind of fault: patterns of the lines that tell of it (no case), what is said of the mirror, what to do.

    ``innocent``: it looks like the mirror's, and is the caller's. ``beside``: what another line must say, too.
    """

    told_by: tuple[str, ...]
    what: str
    hint: str
    innocent: bool = False
    beside: str = ""

    @property
    def pattern(self) -> re.Pattern[str]:
        """What is found in a telling line."""
        return re.compile("|".join(self.told_by), re.IGNORECASE)


# The first kind that is found speaks. What was tampered with goes before what could not be had: tools say both at once.
_KINDS = (
    _Kind(
        (r"Pathname (can't|cannot) be converted",),
        "a package has a file whose name cannot be written in this locale: scripts run with LC_ALL=C",
        "install with install-packages or package-installs.yaml, or set LC_ALL=C.UTF-8 before the tool's call",
        innocent=True,
    ),
    _Kind(
        (
            *(r"\bEXPKEYSIG\b", r"key (has |is )?expired", r"expired key", r"signature by expired", r"is not alive"),
            *(r"key is not valid anymore", r"has expired \(on", r"expired on"),
        ),
        "the key that signed it has expired",
        f"give the distribution's newer keys {_KEYS}, or build from a newer mirror",
    ),
    _Kind(
        (
            *(r"NO_PUBKEY", r"missing key", r"key missing", r"unknown public key", r"No public key", r"unknown trust"),
            *(r"key .{0,40}not (found|installed|imported)", r"public key is not installed", r"key .* is unknown"),
            *(r"Import of the key.* didn't help", r"NOKEY", r"signed with an? unknown key"),
            r"UNTRUSTED signature",
        ),
        "it is signed with a key that the build does not know",
        f"give the keys of whoever signs it {_KEYS}, or name another mirror",
    ),
    _Kind(
        (
            *(r"BADSIG", r"bad signature", r"signature (verification|check) (failed|error)", r"invalid signature"),
            *(r"invalid or corrupted (package|database)", r"GPG check FAILED", r"signatures? (was|were) invalid"),
            *(r"is not signed", r"Clearsigned file isn't valid", r"Problem parsing the signature", r"NOT OK"),
            *(r"signatures? (is|are) invalid", r"Payload .*BAD"),
        ),
        "what it has is not what was signed: it was changed, or damaged on the way",
        f"do not use this mirror before it is clear why; {_OTHER}",
    ),
    _Kind(
        (r"repodata/repomd\.xml: All mirrors were tried",),
        "neither it nor another one has the state any more that the build was planned from",
        f"build again; else {_OTHER}",
        beside="checksum doesn't match",
    ),
    _Kind(
        (
            *(r"Hash Sum mismatch", r"wrong (checksum|digest)", r"checksum doesn't match", r"Integrity check failed"),
            *(r"unexpected size", r"Mirror sync in progress", r"(digest|checksum) verification failed"),
            *(r"maximum file size exceeded", r"(bigger|smaller|larger) than expected", r"Unrecognized archive format"),
            *(r"could not open file .*\.db", r"Interrupted by header mismatch", r" is refused: "),
            # apk 2 says no more of a package that is damaged than that.
            *(r"(package|file) integrity error", r"file format is invalid", r"ERROR: \S+: (IO ERROR|BAD archive)"),
        ),
        "what it has does not match its index: the mirror is being updated, is broken, or lies",
        _OTHER,
    ),
    _Kind(
        (r"Release file .* (is not valid yet|is expired|expired)", r"Valid-Until"),
        "its index is too old, or from the future",
        f"set this machine's clock; for a mirror that stands still see --lock and --snapshot; else {_OTHER}",
    ),
    _Kind(
        (
            *(r"Could not resolve", r"resolving timed out", r"Temporary failure", r"Name or service not known"),
            *(r"Couldn't resolve host",),
        ),
        "its name leads nowhere",
        "check the address (DIB_DISTRIBUTION_MIRROR) and this machine's network and proxy (http_proxy)",
    ),
    _Kind(
        (
            *(r"Operation too slow", r"timed? ?out", r"Timeout (was reached|exceeded)", r"less than \d+ bytes"),
            *(r"(Failed|Unable|Could not|Couldn't) (to )?connect", r"Connection (refused|reset|failed|timed)"),
            *(r"Recv failure", r"Empty reply", r"connection (was )?closed", r"Error reading from server"),
            *(r"transfer closed", r"partial file", r"temporarily un(accessible|available)", r"Undetermined Error"),
            *(r"Curl error \((7|18|28|52|55|56|92)\)", r"Service Unavailable", r"broke off"),
            *(r"(code|error|response)[: ]+50[0234]", r"\b50[0234] +[A-Z]"),
        ),
        "it does not answer, is too slow, or breaks off",
        f"check the network and the proxy (http_proxy), wait longer (DIB_MIRROR_TIMEOUT, seconds); else {_OTHER}",
    ),
    _Kind(
        (
            r"(code|error|response)[: ]+(40[34]|410)",
            r"40[34] +[A-Z]",
            r"not found on medium",
            r"no longer has a Release",
        ),
        "it has not got what its index names, or the release is not there",
        f"if the mirror has just moved, build again; check the release (--release); else {_OTHER}",
    ),
    _Kind(
        (r"cache-?only",),
        "what is needed is not in the cache, and the build is offline",
        "build once without --offline",
    ),
)


def explain(tail: Sequence[str], mirrors: Sequence[str] = ()) -> MirrorFault | None:
    """What the last lines of a stage that installs packages say of a mirror, or None.

    ``mirrors`` are the addresses of the build's indices: the one is named that a telling line names, or the only one.
    """
    text = "\n".join(tail)
    for kind in _KINDS:
        lines = [number for number, line in enumerate(tail) if kind.pattern.search(line)]
        if kind.beside and not re.search(kind.beside, text, re.IGNORECASE):
            continue
        if lines and kind.innocent:
            return MirrorFault(kind.what, kind.hint)
        if lines:
            address = _address(tail, lines) or _first(_ADDRESS.findall(text)) or _first(mirrors)
            mirror = f"the mirror {host(address)}" if address else "the mirror"
            return MirrorFault(f"{mirror}: {kind.what}", kind.hint)
    return None


def _address(tail: Sequence[str], numbers: Sequence[int]) -> str:
    """An address in a telling line, or in the nearest line before it."""
    for number in numbers:
        for line in reversed(tail[: number + 1]):
            if addresses := _ADDRESS.findall(line):
                return str(addresses[-1])
    return ""


def _first(addresses: Sequence[str]) -> str:
    return addresses[0] if addresses else ""


def host(address: str) -> str:
    """An address without its path and without what it says of its user."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.partition('/')[0].rpartition('@')[2]}".rstrip(":,.")
