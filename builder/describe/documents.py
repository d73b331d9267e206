"""The documents about an image, SBOMs and provenance: made when an output has arrived, beside it and attached to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder import destination
from builder.describe.generate import SUFFIXES
from builder.destination import checksum_files
from builder.request.prepared_build import PreparedBuild
from stages.protocol import events
from stages.protocol.request import CONTAINER_TYPES, Output, Request

# What this machine needs to build anything: of no use to anybody else, and it may tell a password.
OF_THIS_MACHINE = ("DIB_CTR_APT_OPTIONS",)


def is_for(output: Output) -> bool:
    """Do documents go with this output."""
    return output.type in CONTAINER_TYPES and output.options.get("documents", "yes") == "yes"


def paths(target: Path) -> tuple[Path, ...]:
    """Where the documents of an output at ``target`` lie."""
    return tuple(target.with_name(target.name + suffix) for suffix in SUFFIXES.values())


def are_there(output: Output, target: Path) -> bool:
    """Is each document that goes with this output at its place."""
    return not is_for(output) or all(path.is_file() for path in paths(target))


def check(output: Output, target: Path, memory: destination.Memory, *, replace: bool) -> None:
    """Refuse places for documents and checksum files that are taken by something that no build wrote: UsageError."""
    beside = [*(paths(target) if is_for(output) else ()), *checksum_files.paths(output, target)]
    for path in beside:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is there and is no file", hint=f"remove it, or: -o {output.type},dest=PATH")
    if not replace and not memory.knew_documents(target):
        destination.refuse_others(beside, memory, UsageError)


def asked(request: Request, output: Output) -> dict[str, Any]:
    """What was asked for, as the provenance of one output has it: enough to ask for it again."""
    return {
        "elements": list(request.asked),
        **({"from": request.base["name"]} if request.base else {}),
        "name": request.name,
        "arch": request.arch,
        "packages": list(request.packages),
        "variables": {name: value for name, value in request.variables.items() if name not in OF_THIS_MACHINE},
        "output": {"type": output.type, **{name: text for name, text in output.options.items() if name != "dest"}},
        "slim": {name: text for name, text in request.slim.items() if name == output.options.get("slim")},
    }


@dataclass(frozen=True)
class DocumentWriter:
    """Describes the outputs of one request; ``lock`` tells what the build used, where that is known.

    ``packages`` gets the versions of what is in them, by name, as outputs arrive.
    """

    prepared: PreparedBuild
    build_image: str
    lock: Callable[[], Mapping[str, Any] | None] = lambda: None
    packages: dict[str, str] = field(default_factory=dict)

    def beside(self, folder: Path, event: events.Output) -> dict[Path, bytes]:
        """The documents for an output that arrived in ``folder``, by the paths where they are to lie.

        Those of a layout are attached to its image as well.
        """
        output, target = self.prepared.request.outputs[event.index], self.prepared.targets[event.index]
        from builder.describe.image import Described

        described = Described.from_json((folder / "described.json").read_bytes())
        self.packages.update((package.name, package.version) for package in described.packages)
        if not is_for(output):
            return {}
        from importlib import metadata

        from builder.describe.generate import documents
        from builder.describe.provenance import element_digest
        from builder.describe.referrers import attach

        written = documents(
            described,
            event.image,
            request=asked(self.prepared.request, output),
            elements={element.name: element_digest(element.path) for element in self.prepared.elements},
            build_image=self.build_image,
            dib_ctr=metadata.version("dib-ctr"),
            lock=self.lock(),
            redaction=self.prepared.redaction,
        )
        if output.type == "oci":
            attach(folder / "artifact", written)
        return {path: document.data for path, document in zip(paths(target), written, strict=True)}
