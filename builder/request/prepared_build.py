"""A checked build: its request, the elements that go with it, and where its outputs will lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from builder.request.options import LockOptions
from builder.request.redact import redaction_of
from stages.element.resolve import Element
from stages.protocol.request import Request
from stages.redaction.redaction import Redaction


@dataclass(frozen=True)
class PreparedBuild:
    """A checked request, the elements that go with it, and where each of its outputs will lie (in the same order).

    ``passphrases`` (in base64) are those of encrypted containers by name; they are no part of the request. ``given``
    are the files of this machine that scripts may see, by the path at which they do; ``notes`` are for the user.
    ``files`` says that the files which scripts leave beside the outputs were asked for. ``build_image`` is the one that
    the elements want ("": any). ``large`` are given files that travel only when a stage needs them, by digest.
    ``replace``: files at the outputs' places may go, whoever wrote them. ``side_folder`` takes the files that scripts
    leave beside the outputs, whatever their names.
    """

    request: Request
    elements: tuple[Element, ...]
    targets: tuple[Path, ...]
    locks: LockOptions = field(default_factory=LockOptions)
    passphrases: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: bool = False
    build_image: str = ""
    large: Mapping[str, Path] = field(default_factory=dict)
    replace: bool = False
    side_folder: Path | None = None

    @cached_property
    def redaction(self) -> Redaction:
        """What is secret in it."""
        return redaction_of(self.request, self.given, self.passphrases)
