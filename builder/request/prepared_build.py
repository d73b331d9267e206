"""A checked build: its request, the elements that go with it, and where its outputs will lie."""

from __future__ import annotations
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from blockdev.core.errors import UsageError
from builder.destination import check_targets, is_files, side_folder_of, target_of
from builder.request.base import BASE_ELEMENT, base_of, check_locked_base, with_base
from builder.request.choices import parse_arch
from builder.request.elements import image_config, resolve_elements
from builder.request.host_files import file_digest, given_files
from builder.request.options import NAME, BuildOptions, LockOptions
from builder.request.outputs import is_for_disk, parse_output, policies
from builder.request.redact import check_names, redaction_of, secrets_of
from builder.request.releases import check as releases
from builder.request.releases.support import ended
from builder.request.substitutes import CONTAINERFILE
from builder.request.variables import mirrors, variables
from stages.element.resolve import BUILTIN, Element, Resolution
from stages.plan.breakpoints import WANTED, is_point
from stages.protocol.request import Request
from stages.redaction.redaction import Redaction
if TYPE_CHECKING:
    from builder.request.disk import Disk


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
