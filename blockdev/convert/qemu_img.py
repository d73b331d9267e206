"""Running qemu-img: what it knows, converting, checking; what it says on failure as an error for people."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.convert.formats import Plan
from blockdev.core import tools
from blockdev.core.errors import BuildError, UsageError

_FULL = b"No space left on device"
_OPTION = re.compile(r"^  ([A-Za-z0-9_.-]+)=<", re.MULTILINE)
_NOT_CHECKED = 63  # qemu-img check: "this image format does not support checks"
_MOST_COROUTINES = 16


def program(name: str, package: str) -> str:
    """Where a program is; BuildError that says how to install it."""
    path = shutil.which(name)
    if path is None:
        raise BuildError(f"{name} is not installed", hint=f"apt-get install {package}")
    return path


def environment() -> dict[str, str]:
    """What a program sees: no locale, and no options that somebody keeps in variables (XZ_OPT, ZSTD_CLEVEL...)."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def disk_full(target: Path) -> BuildError:
    """The error for a file system without room for an output."""
    return BuildError(
        "the disk is full",
        where=str(target),
        hint=f"make room in {target.parent}, or write the image to another place",
    )


def known_options(driver: str) -> frozenset[str]:
    """The names of the creation options of a format, as this qemu-img lists them."""
    done = run(["create", "-f", driver, "-o", "help"])
    if done.status:
        raise BuildError(f"this qemu-img does not write {driver}: {sentence(done.err)}", hint="use a newer qemu-img")
    return frozenset(_OPTION.findall(done.out.decode(errors="replace")))


def require_options(plan: Plan) -> None:
    """UsageError where a plan has an option that this qemu-img does not know for its format."""
    options = known_options(plan.format.driver)
    for key, value in plan.options.items():
        if key not in options:
            raise UsageError(
                f"qemu-img knows no option {key!r} for {plan.format.name}",
                where=f"{key}={value}",
                hint=f"it knows {', '.join(sorted(options))}",
            )


def convert(raw: Path, partial: Path, plan: Plan, threads: int, target: Path) -> None:
    """Convert a raw image to ``partial``; errors name ``target``. Raises BuildError with what qemu-img said.

    Never with ``-W``: clusters written out of order would lie elsewhere each time. ``-m`` alone keeps them in order.
    """
    command: list[str | Path] = ["convert", "-f", "raw", "-O", plan.format.driver]
    if plan.format.driver == "qcow2":
        command += ["-m", str(min(max(threads, 1), _MOST_COROUTINES))]
        command += [] if plan.compression == "none" else ["-c"]
    if plan.options:
        command += ["-o", options_text(plan.options)]
    done = run([*command, raw.resolve(), partial.resolve()])
    if done.status:
        if _FULL in done.err:
            raise disk_full(target)
        reason = sentence(done.err).replace(str(partial.resolve()), target.name)
        raise BuildError(f"qemu-img could not write {plan.format.name}: {reason}", where=str(target))


def options_text(options: Mapping[str, str]) -> str:
    """Options as ``-o`` takes them, sorted; a comma within a value is doubled."""
    return ",".join(f"{key}={value.replace(',', ',,')}" for key, value in sorted(options.items()))


def check(image: Path, driver: str) -> None:
    """Let qemu-img look at an image's own tables; BuildError with what it finds wrong."""
    done = run(["check", "-q", "-f", driver, image.resolve()])
    if done.status == _NOT_CHECKED:
        info(image, driver)
    elif done.status:
        raise BuildError(f"qemu-img finds the image faulty: {sentence(done.err or done.out)}", where=str(image))


def compare(raw: Path, image: Path, driver: str) -> None:
    """Does an image hold what the raw one holds, byte for byte; BuildError where it does not. Reads both whole."""
    done = run(["compare", "-f", "raw", "-F", driver, raw.resolve(), image.resolve()])
    if done.status:
        raise BuildError(f"the image differs from its source: {sentence(done.err or done.out)}", where=str(image))


def info(image: Path, driver: str) -> Mapping[str, Any]:
    """What qemu-img says of an image (its JSON document)."""
    done = run(["info", "--output=json", "-f", driver, image.resolve()])
    if done.status:
        raise BuildError(f"qemu-img cannot read the image: {sentence(done.err)}", where=str(image))
    document: dict[str, Any] = json.loads(done.out)
    return document


def run(arguments: Sequence[str | Path]) -> tools.Done:
    """Run qemu-img to its end; BuildError where it is not installed."""
    return tools.run([program("qemu-img", "qemu-utils"), *arguments], env=environment())


def sentence(output: bytes, otherwise: str = "it gave no reason") -> str:
    """qemu-img's last line, without its own name."""
    return tools.last_line(output, otherwise).removeprefix("qemu-img: ")
