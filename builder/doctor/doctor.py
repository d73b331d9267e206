"""``dib-ctr doctor``: try each engine for real and say what works, what does not and what mends it."""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import Struct, one_of, read
from builder import engines
from builder.build_image import ensure
from builder.doctor import trial_build
from builder.doctor.diagnosis import Diagnosis, HostFacts, diagnose, gather
from builder.engines.protocol import Container, Engine, Send
from builder.host_state import probe_results
from qemu.accelerator import choose
from qemu.architecture import native
from qemu.machine import PACKAGES, SYSTEMS, emulator
from stages.repositories import apt_sources

# The checks of builder.doctor.container_checks: what a person reads, and whether every build needs it.
INSIDE = {
    "root_is_mapped": ("no root of the host", True),
    "overlay": ("overlay on the store", True),
    "user_namespace": ("user namespace inside", True),
    "interpreter": ("interpreters of its own", False),
    "mirror": ("package mirror", False),
}
WIDTH = 24  # columns of a check's name


@dataclass(frozen=True)
class Check:
    """One thing tried: ``text`` is what the system said; ``wrong`` and ``command`` are set where it failed."""

    name: str
    ok: bool
    text: str = ""
    needed: bool = True
    wrong: str = ""
    command: str = ""


@dataclass(frozen=True)
class EngineReport:
    """All that was tried with one engine."""

    engine: str
    usable: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Report:
    """The whole examination; ``usable`` where at least one engine can build."""

    usable: bool
    engines: tuple[EngineReport, ...]
    notes: tuple[Check, ...] = ()


def _failed(name: str, text: str, facts: HostFacts, *, needed: bool = True) -> Check:
    diagnosis: Diagnosis = diagnose(text, facts)
    return Check(name, False, text, needed, diagnosis.explanation, diagnosis.command)


def _reason(error: BuildError) -> str:
    return getattr(error, "text", "") or error.what


class Answer(Struct):
    """What one check in a build container found (``builder.doctor.container_checks``)."""

    name: Annotated[str, one_of(INSIDE)]
    ok: bool
    text: str


def _examine(engine: Engine, image: str, facts: HostFacts, leftover: str) -> list[Check]:
    """Run the examination inside a build container; it removes the folder ``leftover`` of the store first."""
    code = importlib.resources.files("builder.doctor").joinpath("container_checks.py").read_text()
    try:
        address = f"{apt_sources.debian_mirror().archive}/dists/{ensure.SUITE}/InRelease"
    except BuildError:
        address = ""
    checks: list[Check] = []
    rest: list[str] = []

    def on_line(line: str, send: Send | None) -> None:
        try:
            answer = read(Answer, json.loads(line)) if send else None
        except ValueError:
            answer = None
        if answer is None:
            rest.append(line)
            return
        name, needed = INSIDE[answer.name]
        if answer.ok:
            checks.append(Check(name, True, answer.text, needed))
        else:
            checks.append(_failed(name, answer.text, facts, needed=needed))

    argv = ("/usr/bin/python3", "-I", "-c", code, engine.store, leftover)
    status = engine.run(Container(image, argv, {"MIRROR": address}), b"", on_line)
    if status != 0:
        checks.append(_failed("examination", "\n".join(rest) or f"exit status {status}", facts))
    return checks


def examine(name: str, facts: HostFacts) -> EngineReport:
    """Try one engine; what was remembered of it is forgotten first."""
    probe_results.forget(name)
    probe_results.forget(engines.AUTO)
    checks: list[Check] = []
    step = "runs a container"
    try:
        engine = engines.make(name)
        engine.probe()
        checks.append(Check(step, True, _probed(engine)))
        step = "build image" if name != "host" else "tools"
        image = ensure.ensure(engine)
        checks.append(Check(step, True, image))
        step = "tiny build"
        store, steps = trial_build.run(engine)
        built = [Check(name, ok, text) if ok else _failed(name, text, facts) for name, ok, text in steps]
        step = "examination"
        checks += [*_examine(engine, image, facts, store), *built]
    except BuildError as error:
        check = _failed(step, _reason(error), facts)
        hint = "" if "doctor" in error.hint else error.hint
        checks.append(Check(step, False, check.text, True, check.wrong, check.command or hint))
    return EngineReport(name, all(check.ok for check in checks if check.needed), tuple(checks))


def _machines() -> Check:
    """Can `dib-ctr boot` start machines of this architecture, and under what."""
    arch = native()
    program = shutil.which(emulator(arch)) if arch in SYSTEMS else None
    if not program:
        command = f"apt-get install {PACKAGES[arch]}" if arch in PACKAGES else ""
        return Check("machines (boot)", False, needed=False, wrong="no QEMU for machines", command=command)
    return Check("machines (boot)", True, f"{Path(program).name} under {choose(arch, program, probe_results).value}")


def _probed(engine: Engine) -> str:
    """What the probe found, in short."""
    probed = getattr(engine, "probe_result", None)
    general = getattr(probed, "general", ()) if probed is not None else ()
    return "with a storage of its own on overlay, since podman's is vfs" if "--root" in general else ""


def run(names: list[str]) -> Report:
    """Try the named engines, in order."""
    facts = gather()
    reports = tuple(examine(name, facts) for name in names)
    notes: list[Check] = [_machines()]
    if os.getuid() != 0 and not facts.ranges:
        notes.append(_failed("subordinate ids", "no range of subordinate ids", facts))
    return Report(any(report.usable for report in reports), reports, tuple(notes))


def _lines(check: Check) -> list[str]:
    if check.ok:
        return [f"  ok    {check.name:<{WIDTH}}{check.text}".rstrip()]
    word = "WRONG" if check.needed else "lacks"
    lines = [f"  {word} {check.name:<{WIDTH}}{check.wrong}"]
    if check.command:
        lines.append(f"        {'':<{WIDTH}}mend: {check.command}")
    output = [line.strip() for line in check.text.splitlines() if line.strip()]
    if output and output[-1] != check.wrong:
        lines.append(f"        {'':<{WIDTH}}it said: {output[-1]}")
    return lines


def render(report: Report) -> str:
    """The report as plain text."""
    lines: list[str] = []
    for engine in report.engines:
        lines.append(f"{engine.engine}: {'works' if engine.usable else 'does not work'}")
        for check in engine.checks:
            lines += _lines(check)
    for check in report.notes:
        lines += _lines(check)
    good = [engine.engine for engine in report.engines if engine.usable]
    lines.append(f"builds can run with: {', '.join(good)}" if good else "no engine works: mend one of those above")
    return "\n".join(lines)
