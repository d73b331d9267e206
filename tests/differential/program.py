"""diskimage-builder's planning code as a program: a question a line on standard input, its answer on standard output.

It runs in the virtual environment that diskimage-builder is installed in (``tests/differential/upstream.py``), as one
process for many questions. Everything that answers is diskimage-builder's own. Two things stand in for what takes root:
``exec_sudo`` writes a command down and does not run it (``losetup`` gets the name of a loop device as its answer), and
the tree's folder ``/usr/share/pkg-map`` is asked for by the option ``--pkg-map`` of the command that reads it.

A question is ``{"ask": NAME, ...}``; an answer ``{"refused": TEXT}`` or what the function of that name gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import io
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Question = Mapping[str, Any]
Answer = dict[str, Any]
PHASES = ("pre-install.d", "install.d", "post-install.d")
ORDERS = 6  # how many orders of sets are tried beside the alphabetical one

upstream: Any = importlib.import_module("diskimage_builder")
HOME = Path(upstream.__file__).parent


class RefusedError(Exception):
    """What diskimage-builder would have ended with."""


def script(path: str) -> Any:
    """A program of an element as a module."""
    file = HOME / "elements" / path
    name = file.name.replace("-", "_").partition(".")[0]
    loader = importlib.machinery.SourceFileLoader(name, str(file))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


dependencies: Any = importlib.import_module("diskimage_builder.element_dependencies")
images_command: Any = importlib.import_module("diskimage_builder.diskimage_builder")
block_device: Any = importlib.import_module("diskimage_builder.block_device.blockdevice")
squash = script("package-installs/bin/package-installs-squash")
installs = script("package-installs/bin/package-installs-v2")
pkg_map = script("pkg-map/bin/pkg-map")
svc_map = script("svc-map/extra-data.d/10-merge-svc-map-files")


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables alone, and PATH."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({"PATH": before["PATH"], **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def called(main: Callable[[], object], name: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit status and standard output of a program's ``main``."""
    output, before = io.StringIO(), sys.argv
    sys.argv = [name, *arguments]
    try:
        with contextlib.redirect_stdout(output):
            status = main()
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before
    return status if isinstance(status, int) else 0, output.getvalue()


class Ordered(set[str]):
    """A set that is gone through in one order, where Python leaves it to chance."""

    order: Callable[[str], Any]

    def __sub__(self, other: Any) -> Any:
        return sorted(set(self) - set(other), key=self.order)


def elements(question: Question) -> Answer:
    """The names of an image's elements, sorted, and their folders.

    What each needs is a set, which Python goes through in the order of chance: all answers of several orders.
    """
    orders: list[Callable[[str], Any]] = [lambda name: name]
    orders += [lambda name, salt=salt: hashlib.md5(f"{salt}{name}".encode()).digest() for salt in range(ORDERS)]  # type: ignore[misc]
    universe = dependencies._find_all_elements(":".join(question["path"]))
    found = []
    for order in orders:
        for element in universe.values():
            element.depends = Ordered(element.depends)
            element.depends.order = order
        try:
            chosen = dependencies._expand_element_dependencies(question["asked"], universe)
        except (
            dependencies.MissingElementException,
            dependencies.AlreadyProvidedException,
            dependencies.MissingOSException,
        ) as error:
            one: Answer = {"refused": type(error).__name__}
        except KeyError:  # an element that is nowhere, and that another provides after all
            one = {"refused": "KeyError"}
        else:
            names = sorted(element.name for element in chosen)
            one = {"elements": names, "folders": {name: universe[name].path for name in names}}
        if one not in found:
            found.append(one)
    return found[0] if len(found) == 1 else {"any": found}


def packages(question: Question) -> Answer:
    """What is installed and removed in each phase, under the distribution's names.

    The order of elements is chance in diskimage-builder: where it decides, there are two answers.
    """
    first, second = (_packages(question, order) for order in (question["order"], question["order"][::-1]))
    return first if first == second else {"any": [first, second]}


def _packages(question: Question, order: Sequence[str]) -> Answer:
    squashed = Path(question["work"]) / "squashed"
    with environment(question["environment"]):
        arguments = ["--elements", " ".join(order), "--path", ":".join(question["path"]), str(squashed)]
        status, said = called(squash.main, "package-installs-squash", arguments)
        if status:
            raise RefusedError(said)
        asked = {
            phase: [sorted(_installed(phase, remove, squashed, question)) for remove in (False, True)]
            for phase in PHASES
        }
    lost = sorted(set(json.loads(squashed.read_text(encoding="utf-8"))) - set(PHASES))
    return {"phases": asked, "elsewhere": lost}


def _installed(phase: str, remove: bool, squashed: Path, question: Question) -> set[str]:
    words: set[str] = set()

    def output(command: Sequence[str], follow: bool = False) -> str:
        if command[0] == "install-packages":
            words.update(word for name in command[1:] for word in name.split() if word != "-e")
            return ""
        at = command.index("--element")
        element, rest = command[at + 1], [*command[1:at], *command[at + 2 :]]
        file = Path(question["folders"][element]) / "pkg-map"
        # Without a file of the element's the command looks for one that cannot be.
        status, said = called(pkg_map.main, "pkg-map", [*rest[:3], "--pkg-map", str(file), *rest[3:]])
        if status:
            raise RefusedError(f"pkg-map of {element} ended with status {status}")
        return said

    installs.process_output = output
    status, said = called(
        installs.main, "package-installs-v2", ["--phase", phase, *(["--uninstall"] if remove else []), str(squashed)]
    )
    if status:
        raise RefusedError(said)
    return words


def services(question: Question) -> Answer:
    """The names of the services that elements map."""
    found: dict[str, str] = {}
    yaml = importlib.import_module("yaml")
    for folder in question["folders"]:
        file = Path(folder) / "svc-map"
        if file.exists():
            found = svc_map.merge_data(yaml.safe_load(file.read_text()), found, question["distribution"])
    return {"services": found}


def images(question: Question) -> Answer:
    """The command lines of the images of a file, each with its variables."""
    yaml = importlib.import_module("yaml")
    definitions: list[Any] = []
    for file in question["files"]:
        definitions.extend(yaml.safe_load(Path(file).read_text()))
    made = images_command.build_commands(definitions)
    return {"images": [[Path(one.script).name, [str(word) for word in one.args], {**one.environ}] for one in made]}


def disk(question: Question) -> Answer:
    """What is run for a disk, the values that scripts are told, and its fstab."""
    run: list[list[str]] = []
    loops: list[str] = []

    def exec_sudo(command: Sequence[str]) -> str:
        run.append([str(word) for word in command])
        if command[0] == "losetup" and "--show" in command:
            loops.append(Path(command[-1]).stem)
            return f"/dev/loop{len(loops) - 1}\n"
        return ""

    for name in ("level0.localloop", "level1.lvm", "level1.partitioning", "level2.mkfs", "level3.mount", "utils"):
        module: Any = importlib.import_module(f"diskimage_builder.block_device.{name}")
        module.exec_sudo = exec_sudo
    block_device.exec_sudo = exec_sudo
    with tempfile.TemporaryDirectory(dir=question["work"]) as work, environment(question["environment"]):
        config = Path(work) / "config.yaml"
        config.write_text(question["text"], encoding="utf-8")
        yaml = importlib.import_module("yaml")
        params = {
            "config": str(config),
            "image-dir": work,
            "mount-base": f"{work}/mnt",
            "build-dir": work,
            **yaml.safe_load(question["params"]),
        }
        device = block_device.BlockDevice(params)
        device.cmd_init()
        values = {}
        for name in ("root-label", "root-fstype", "boot-label", "mount-points"):
            _, said = called(lambda name=name: device.cmd_getval(name), "getval", ())  # type: ignore[misc]
            values[name] = said.rstrip("\n")
        device.cmd_create()
        device.cmd_writefstab()
        state = json.loads(Path(device.state_json_file_name).read_text())
        heads = {}
        for name in loops:
            with Path(state["blockdev"][name]["image"]).open("rb") as image:
                heads[name] = image.read(512).hex()
        boot_records = {
            name: _boot_records(Path(state["blockdev"][name]["image"]), bytes.fromhex(head))
            for name, head in heads.items()
        }
        return {
            "values": values,
            "commands": run,
            "fstab": (Path(device.state_dir) / "fstab").read_text(),
            "devices": {name: one["device"] for name, one in state["blockdev"].items()},
            "sizes": {name: Path(state["blockdev"][name]["image"]).stat().st_size for name in loops},
            "mbr": boot_records,
        }


def _boot_records(image: Path, head: bytes) -> list[list[Any]]:
    """The partitions of an MBR, those of its extended one, too: number, boot flag, type, first byte, bytes."""
    if head[510:512] != b"\x55\xaa":
        return []
    found: list[list[Any]] = []
    extended = 0

    def entry(record: bytes, index: int) -> tuple[int, int, int, int]:
        raw = record[446 + 16 * index : 462 + 16 * index]
        return raw[0], raw[4], int.from_bytes(raw[8:12], "little") * 512, int.from_bytes(raw[12:16], "little") * 512

    for index in range(4):
        flag, kind, start, size = entry(head, index)
        if kind:
            found.append([index + 1, flag == 0x80, kind, start, size])
            extended = start if kind in (0x05, 0x0F) else extended
    at, number = extended, 5
    with image.open("rb") as file:
        while at:
            file.seek(at)
            record = file.read(512)
            flag, kind, start, size = entry(record, 0)
            found.append([number, flag == 0x80, kind, at + start, size])
            _, kind, start, _ = entry(record, 1)
            at, number = (extended + start if kind else 0), number + 1
    return found


ASKED: dict[str, Callable[[Question], Answer]] = {
    "elements": elements,
    "packages": packages,
    "services": services,
    "images": images,
    "disk": disk,
}


def answer(question: Question) -> Answer:
    """The answer to a question, or how diskimage-builder ended."""
    try:
        return ASKED[question["ask"]](question)
    except RefusedError as error:
        return {"refused": str(error).strip()}
    except Exception as error:  # noqa: BLE001
        return {"refused": f"{type(error).__name__}: {error}", "at": traceback.format_exc(limit=-2)}


def main() -> None:
    """Answer until there are no more questions."""
    logging.disable(logging.CRITICAL)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=channel, flush=True)


if __name__ == "__main__":
    main()
