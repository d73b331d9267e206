"""What one request needs in the build container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.layers.store import Store
from stages.protocol.control import Control
from stages.protocol.request import Request
from stages.redaction.keyed import KeyDigests
from stages.redaction.redaction import Redaction

SCRATCH = "scratch"


@dataclass(frozen=True)
class Work:
    """Everything that one request needs: where it lies, the store, and the line to the host."""

    request: Request
    folder: Path
    store: Store
    control: Control

    def redaction(self, variables: Mapping[str, str]) -> Redaction:
        """What is secret, these being the build's variables."""
        secrets = self.request.secrets
        files = {path: self._content(path) for path in secrets.get("files", ()) if path in self.request.given}
        return Redaction.of(variables, secrets.get("names", ()), self.request.given, files)

    def _content(self, path: str) -> bytes:
        file = self.host_files / self.request.given[path]
        return file.read_bytes() if file.is_file() else b""

    def digests_with(self, redaction: Redaction) -> KeyDigests:
        """What makes the digests in keys."""
        return KeyDigests(redaction, self.store.root, str(self.request.secrets.get("key", "")))

    @cached_property
    def digests(self) -> KeyDigests:
        """The same before any variable is known but the request's own."""
        return self.digests_with(self.redaction(self.request.variables))

    @property
    def scratch(self) -> Path:
        """A folder on a tmpfs, gone with the container."""
        return self.folder / SCRATCH

    @property
    def host_files(self) -> Path:
        """The files of the user's machine, by digest."""
        return self.folder / "given"

    @property
    def elements(self) -> list[tuple[str, Path]]:
        """The elements of the request with their folders, sorted by name."""
        return [(name, self.folder / "elements" / name) for name in self.request.elements]
