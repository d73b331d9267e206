"""How large an image may be that somebody else has made: its documents, and what comes out of its layers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from blockdev.core.errors import BuildError, UsageError

VARIABLE = "DIB_CTR_IMAGE_LIMIT"  # of the user: the bytes of an image's unpacked layers, with a unit
DEFAULT = "64GiB"
MOST_MEMBERS = 3_000_000
MOST_LAYERS = 1000
LARGEST_DOCUMENT = 4 << 20  # bytes; manifests and configurations are read whole, and no real one comes near
LARGEST_HEADER = 1 << 20  # bytes of the records before one member of a layer


def limit_of_user() -> int:
    """The bytes that all layers of an image may have when they are unpacked."""
    text = os.environ.get(VARIABLE) or DEFAULT
    from blockdev.configuration.sizes import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"{VARIABLE} is {text!r}", hint=f"a size with its unit, as in {DEFAULT}") from error


@dataclass
class Budget:
    """What is left for one image: bytes of its unpacked layers, and their members."""

    left: int
    members: int = MOST_MEMBERS

    def pieces(self, source: Iterator[bytes], where: str) -> Iterator[bytes]:
        """The pieces of a layer; BuildError as soon as there are too many."""
        for piece in source:
            self.left -= len(piece)
            if self.left < 0:
                raise BuildError(
                    "the image is larger than it may be when its layers are unpacked",
                    where=where,
                    hint=f"if you know what is in it: {VARIABLE}=SIZE (default {DEFAULT})",
                )
            yield piece

    def member(self, where: str) -> None:
        """One more member; BuildError where there are too many."""
        self.members -= 1
        if self.members < 0:
            raise BuildError(f"the image has more than {MOST_MEMBERS} files", where=where)
