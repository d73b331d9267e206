"""A build of a tiny tree through an engine, to its output: what ``dib-ctr doctor`` tries after all single checks."""

from __future__ import annotations

import contextlib
import secrets
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core.errors import BuildError
from builder.build import run as build
from builder.build.client import BuildContainer
from builder.build_image.ensure import DEBIAN
from builder.engines.protocol import Engine
from builder.host_state.environment import of_caller
from builder.progress.report import Log
from builder.request import limits
from builder.request.options import BuildOptions
from builder.request.prepare import prepare
from stages.protocol.events import Done, Error, Event, Failed, Plan

ELEMENT = "doctor-tree"


@dataclass(frozen=True)
class Step:
    """One script of the element, and what its success says of the engine."""

    name: str
    script: str
    text: str


# The tree has a shell of the build image and its libraries, so that a script can run inside.
STEPS = (
    Step(
        "stage outside",
        "root.d/10-tree",
        """set -eu -o pipefail
mkdir -p "$TARGET_ROOT"/{bin,dev,etc,proc,run,sys,tmp,usr,var}
for file in /bin/bash $(ldd /bin/bash | grep -o '/[^ ]*'); do
    mkdir -p "$TARGET_ROOT$(dirname "$file")"
    cp -L "$file" "$TARGET_ROOT$file"
done
""",
    ),
    Step(
        "device nodes",
        "post-root.d/30-nodes",
        """set -eu
mknod -m 666 "$TARGET_ROOT/etc/node" c 1 3
touch "$TARGET_ROOT/etc/owned"
chown 4000000:4000000 "$TARGET_ROOT/etc/owned"
""",
    ),
    Step(
        "stage with network",
        "post-root.d/50-network",
        """# curl: this word gives the stage the network.
echo network > "$TARGET_ROOT/etc/network"
""",
    ),
    Step("stage inside", "post-install.d/50-inside", "echo inside > /etc/inside\n"),
)
MEMBERS = ("etc/network", "etc/inside", "etc/node")


@dataclass
class Events:
    """What a build reports, kept and shown to nobody."""

    titles: dict[int, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failed: Failed | None = None
    error: Error | None = None

    def handle(self, event: Event) -> None:
        """See builder.progress.report.Reporter."""
        match event:
            case Plan():
                self.titles = {stage.number: stage.script for stage in event.stages}
            case Done():
                self.done.append(self.titles[event.number])
            case Failed():
                self.failed = event
            case Error():
                self.error = event

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """See builder.progress.report.Reporter."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """See builder.progress.report.Reporter."""


@contextlib.contextmanager
def store_of_its_own(engine: Engine) -> Iterator[str]:
    """A folder in the engine's store that is the store of this build alone; its path as a container sees it."""
    outer = engine.store
    engine.store = f"{outer}/doctor-{secrets.token_hex(4)}"
    try:
        yield engine.store
    finally:
        engine.store = outer


def run(engine: Engine) -> tuple[str, list[tuple[str, bool, str]]]:
    """Build the tree, all in a new folder of the engine's store, as another store; nothing else is in it afterwards.

    Returns the folder, and (name, success, what was said) of each step until the first that fails.
    """
    with store_of_its_own(engine) as store:
        return store, _build(engine)


def _build(engine: Engine) -> list[tuple[str, bool, str]]:
    with tempfile.TemporaryDirectory(prefix="dib-ctr-doctor-") as name:
        folder = Path(name)
        write_element(folder / "elements" / ELEMENT)
        output = folder / "tree.tar"
        options = BuildOptions(
            (ELEMENT,),
            outputs=(f"tar,dest={output}",),
            destination=folder,
            elements_path=str(folder / "elements"),
            no_documents=True,
        )
        prepared = prepare("build", options, {}, lambda _: None)
        events, environment = Events(), of_caller()
        container = BuildContainer(engine, DEBIAN, lambda _: None, limits=limits.settings(environment))
        session = build.BuildSession(container, events, Log.open(folder / "log", ELEMENT), (), environment=environment)
        try:
            build.produce(prepared, session, load=False, folder=folder, say=lambda _: None)
            problem = _missing(output)
        except (BuildError, build.FailedError) as error:
            problem = _reason(events, error)
    return _steps(events, problem)


def _reason(events: Events, error: Exception) -> str:
    if events.failed:
        return "\n".join([*events.failed.tail, f"{events.failed.script} ended with {events.failed.status}"])
    return getattr(error, "text", "") or getattr(error, "what", "") or "the build failed without a word"


def _steps(events: Events, problem: str) -> list[tuple[str, bool, str]]:
    steps: list[tuple[str, bool, str]] = []
    for step in STEPS:
        if not any(step.script.endswith(title) or title.endswith(step.script) for title in events.done):
            return [*steps, (step.name, False, problem)]
        steps.append((step.name, True, ""))
    return [*steps, ("output", not problem, problem or "a tree of four stages, from its first to its output")]


def _missing(output: Path) -> str:
    """What the output lacks of what the scripts made, in words; "" where all is there."""
    with tarfile.open(output) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
    lacking = [name for name in MEMBERS if name not in members]
    if lacking:
        return f"the tree lacks {', '.join(lacking)}"
    if not members["etc/node"].ischr():
        return "a device node became a file: system calls of stages are not answered here"
    return "" if members["etc/owned"].uid == 4000000 else "an owner beyond the container's ids was lost"


def write_element(folder: Path) -> None:
    """The element, as a folder."""
    for step in STEPS:
        script = folder / step.script
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/bash\n{step.text}")
        script.chmod(0o755)
    (folder / "element-provides").write_text("operating-system\n")
