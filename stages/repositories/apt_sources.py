"""Which Debian mirror this machine uses, and the apt settings that go with it, told by its apt configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.tools import locate, run

ETC = Path("/etc/apt")
DEBIAN = re.compile(r"(bullseye|bookworm|trixie|forky|duke|sid|(old)*stable|testing|unstable)")
UBUNTU = re.compile(r"(focal|jammy|noble|oracular|plucky|questing|resolute|stonking|devel)")
# What a mirror may need: clocks and dates of a frozen one, proxies, patience. Scripts and files named there stay here.
SETTINGS = re.compile(
    r"Acquire::(Check-Valid-Until|Check-Date|Max-FutureTime|Max-ValidTime|Retries|ForceIPv[46]|https?::(?!.*(Auto|Cert|Key|"
    r'CaInfo|CAInfo|Crl|Ssl))\S*) "[^"]+";'
)


@dataclass(frozen=True)
class Mirror:
    """A Debian archive, and its security archive where the machine names one."""

    archive: str
    security: str = ""

    def sources(self, suite: str) -> str:
        """Lines of a sources.list for the suite."""
        lines = [f"deb {self.archive} {suite} main"]
        if self.security:
            lines.append(f"deb {self.security} {suite}-security main")
        return "\n".join(lines)


def one_line(text: str) -> Iterator[tuple[str, str]]:
    """(URI, suite) of the entries of a sources.list."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", line)
        if match:
            yield match[1], match[2]


def deb822(text: str) -> Iterator[tuple[str, str]]:
    """(URI, suite) of the entries of a .sources file."""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        unfolded = re.sub(r"\n[ \t]+", " ", "\n".join(lines))
        fields = {
            name.strip().lower(): value for name, _, value in (line.partition(":") for line in unfolded.split("\n"))
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip().lower() in (
            "no",
            "false",
        ):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield uri, suite


def _entries(etc: Path) -> Iterator[tuple[str, str]]:
    for file in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        try:
            text = file.read_text()
        except OSError:
            continue
        if file.suffix == ".sources":
            yield from deb822(text)
        elif file.suffix == ".list":
            yield from one_line(text)


def _address(uri: str) -> str:
    """The web address behind a URI, or nothing: ``mirror+file:`` names a file that lists addresses."""
    if uri.startswith(("mirror+file:", "mirror:file:")):
        try:
            listed = Path(re.sub("^.*file:/*", "/", uri)).read_text().split()
        except OSError:
            return ""
        uri = listed[0] if listed else ""
    return uri.rstrip("/") if uri.startswith(("http://", "https://")) else ""


def debian_mirror(etc: Path = ETC) -> Mirror:
    """The machine's Debian mirror; $DIB_CTR_DEBIAN_MIRROR goes first ("ARCHIVE" or "ARCHIVE SECURITY").

    Raises BuildError where there is none, as on Ubuntu.
    """
    addresses = os.environ.get("DIB_CTR_DEBIAN_MIRROR", "").split()
    if addresses:
        return Mirror(*addresses[:2])
    archive = security = ""
    for uri, suite in _entries(etc):
        name, _, rest = suite.replace("/updates", "-security").partition("-")
        if DEBIAN.fullmatch(name) and rest == "security":
            security = security or _address(uri)
        elif DEBIAN.fullmatch(name):
            archive = archive or _address(uri)
    if not archive:
        raise BuildError(
            "no container registry answers, and this machine's apt configuration names no Debian mirror",
            where="build image",
            hint="name one: DIB_CTR_DEBIAN_MIRROR=http://.../debian, or a base image: DIB_CTR_BASE_IMAGE=...",
        )
    return Mirror(archive, security)


def ubuntu_mirror(etc: Path = ETC) -> str:
    """The machine's Ubuntu mirror, or "" where it has none."""
    return next((address for uri, suite in _entries(etc) if UBUNTU.fullmatch(suite) and (address := _address(uri))), "")


def settings() -> tuple[str, ...]:
    """The machine's apt settings that its mirror may need, as lines of an apt.conf."""
    if locate("apt-config") is None:
        return ()
    return tuple(line for line in run(["apt-config", "dump"]).text.splitlines() if SETTINGS.fullmatch(line))
