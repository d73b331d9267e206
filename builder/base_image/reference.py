"""What ``--from`` may name: an image in a registry, or one on this machine's disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from docker.auth import INDEX_NAME

from blockdev.core.errors import UsageError

HINT = "HOST/NAME:TAG, HOST/NAME@sha256:..., oci:DIR, oci-archive:FILE, docker-archive:FILE or containerfile:PATH"
LOCAL = ("oci", "oci-archive", "docker-archive")
ON_DISK = (*LOCAL, "containerfile")
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?:(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|localhost|\[[0-9a-fA-F:]+\](?::[0-9]+)?)/)?"
    rf"(?P<name>{_PATH}(?:/{_PATH})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?\Z"
)


@dataclass(frozen=True)
class Remote:
    """An image in a registry: host, repository, and the tag or digest that names it there."""

    host: str
    name: str
    reference: str

    def __str__(self) -> str:
        return f"{self.host}/{self.name}{'@' if ':' in self.reference else ':'}{self.reference}"


def parse(text: str) -> Remote | Path:
    """The image that ``--from`` names; one without a host is in the central registry, as for docker.

    Raises UsageError for a text that names none, and for a file that is not there.
    """
    kind, separator, rest = text.partition(":")
    if separator and kind in LOCAL:
        path = Path(rest)
        if not path.exists():
            raise UsageError(f"there is no {path}", where=f"--from {text}", hint=HINT)
        return path
    match = _NAME.match(text.removeprefix("docker://"))
    if match is None:
        raise UsageError(f"{text!r} names no image", where="--from", hint=HINT)
    host, name = match["host"] or INDEX_NAME, match["name"]
    if host == INDEX_NAME and "/" not in name:
        name = f"library/{name}"
    return Remote(host, name, match["digest"] or match["tag"] or "latest")
