"""Command lines of disk-image-create and ramdisk-image-create, and the variables that its callers export.

diskimage-builder's answer is its own bash script's, started as its Python command starts it; ``driver.bash`` says what
stands in for things that take root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from blockdev.core.errors import BuildError, UsageError
from builder.frontends.dib.arguments import parse
from builder.frontends.dib.translate import DISKS, translate
from builder.request.disk_options import options_of
from builder.request.prepare import _packages
from tests import upstream
from tests.differential.area import Area
from tests.differential.ask import Program
from tests.differential.compare import REFUSED, Answer, Example

ARCH = "amd64"
_NO_SYSTEM = {"base", "ramdisk", "my-ramdisk", "dracut-ramdisk"}
_ELEMENTS = st.sampled_from(["debian-minimal", "vm", "ubuntu", "block-device-gpt", "x", "vm ubuntu", "", " ", "base"])
_SIZES = ["5", "2.5", "5G", "8Gb", "4096M", "0.5", "10GiB", "abc", "", "1e1"]
_OPTIONS: list[tuple[list[str], list[str]]] = [
    (["-a"], ["amd64", "arm64", "aarch64", "armhf", ""]),
    (["-o"], ["out", "out.qcow2", "dir.x/out", "out.raw.qcow2", ""]),
    (
        ["-t"],
        ["qcow2", "raw", "tar", "tgz", "qcow2,raw", "raw,tar", "vhd", "squashfs", "docker", "tgz,qcow2", ""],
    ),
    (["-x"], []),
    (["-u"], []),
    (["-n"], []),
    (["-p"], ["vim", "vim,lvm2", "a b", "", ","]),
    (["--checksum", "--check"], []),
    (["--no-tmpfs"], []),
    (["--offline", "--off"], []),
    (["--min-tmpfs"], ["5", ""]),
    (["--image-size", "--image-s"], _SIZES),
    (["--image-cache"], ["cache"]),
    (["--max-online-resize", "--max"], ["1000"]),
    (["--mkfs-options", "--mkfs"], ["-m 0", "-i 16384", "-O ^64bit -m 1", ""]),
    (["--qemu-img-options", "--qemu"], ["size=10", "compat=0.10,lazy_refcounts=off", ""]),
    (["--root-label"], ["label", ""]),
    (["--install-type"], ["package", "source"]),
    (["--docker-target"], ["name:tag", "name", ""]),
    (["--ramdisk-element"], ["dracut-ramdisk", ""]),
    (["--image"], ["x"]),
    (["--unknown"], []),
    (["-q"], []),
]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A command line, and variables."""
    words: list[list[str]] = []
    for names, values in draw(st.lists(st.sampled_from(_OPTIONS[:20] * 6 + _OPTIONS), max_size=5)):
        name = draw(st.sampled_from([names[0], names[0], names[-1]]))
        if not values:
            words.append([name])
            continue
        value = draw(st.sampled_from([*values[:3] * 3, *values]))
        if name.startswith("--") and draw(st.booleans()):
            words.append([f"{name}={value}"])
        elif not name.startswith("--") and value and draw(st.booleans()):
            words.append([f"{name}{value}"])
        else:
            words.append([name, value])
    elements = [[word] for word in draw(st.lists(_ELEMENTS, max_size=3))]
    mixed = draw(st.permutations([*words, *elements])) if draw(st.booleans()) else [*words, *elements]
    if elements and draw(st.integers(0, 9)) == 0:
        mixed = [*words, ["--"], *elements]
    variables = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "ARCH": st.sampled_from(["amd64", "arm64", "s390x"]),
                "IMAGE_NAME": st.sampled_from(["named", "named.qcow2", ""]),
                "DIB_IMAGE_SIZE": st.sampled_from(_SIZES),
                "DIB_JOURNAL_SIZE": st.sampled_from(["32", ""]),
                "DIB_CHECKSUM": st.sampled_from(["0", "1", "md5", "sha256", "md5,sha256", ""]),
                "DIB_OFFLINE": st.sampled_from(["1", ""]),
                "DIB_DEBUG_TRACE": st.sampled_from(["0", "1"]),
                "DIB_DEFAULT_INSTALLTYPE": st.sampled_from(["package", ""]),
                "ROOT_LABEL": st.sampled_from(["fromenv", ""]),
                "FS_TYPE": st.sampled_from(["xfs", "ext4", ""]),
                "QEMU_IMG_OPTIONS": st.sampled_from(["size=20", ""]),
                "MAX_ONLINE_RESIZE": st.sampled_from(["2000"]),
                "SKIP_BASE": st.sampled_from(["1", "0", ""]),
                "DIB_RELEASE": st.sampled_from(["trusty", "trixie"]),
                "RAMDISK_ELEMENT": st.sampled_from(["my-ramdisk", ""]),
            },
        )
    )
    few = dict(list(variables.items())[: draw(st.integers(0, 4))])
    command = draw(st.sampled_from(["disk-image-create"] * 6 + ["ramdisk-image-create"]))
    return {"command": command, "words": [word for group in mixed for word in group], "environment": few}


def both(example: Example, program: Program, folder: Path) -> tuple[Answer, Answer]:
    """What the two say."""
    del program
    return _theirs(example, folder), _ours(example, folder)


def _library(folder: Path) -> Path:
    """diskimage-builder's library, with what stands in for things that take root read after it."""
    real = next(upstream.python().parents[1].glob("lib/python3*/site-packages/diskimage_builder/lib"))
    library = folder / "lib"
    library.mkdir()
    for file in real.iterdir():
        (library / file.name).symlink_to(file)
    (library / "img-functions").unlink()
    (library / "img-functions").write_text(f"source {real}/img-functions\ndriver_after_library\n")
    return library


def _theirs(example: Example, folder: Path) -> Answer:
    library, record, place = _library(folder), folder / "record", folder / "place"
    (place / "dir.x").mkdir(parents=True)
    (place / "tmp").mkdir()
    record.touch()
    environment = {
        **example["environment"],
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(place / "tmp"),
        "USER": "nobody",
        "TMP_DIR": str(place / "tmp"),
        "_LIB": str(library),
        "DIB_PYTHON_EXEC": "driver_python",
        "BASH_ENV": str(Path(__file__).with_name("driver.bash")),
        "DRIVER_RECORD": str(record),
        "DRIVER_FOLDER": str(place / "tmp"),
        "DIB_NO_TIMESTAMP": "1",
    }
    environment.setdefault("ARCH", ARCH)
    done = subprocess.run(
        ["/bin/bash", str(library / example["command"]), *example["words"]],
        env=environment,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    calls = [call.split("\0")[:-1] for call in record.read_text().split("\n\0") if call]
    state = next((call[2:] for call in calls if call[0] == "state"), [])
    if done.returncode or not state:
        return {"refused": done.stdout[-400:]}
    arch, name, elements, trace, _, offline, size, options, label, kind, install, arguments = state
    if not size.isdecimal() or (_sized(example) and size == "0"):  # mawk's 2.14748e+09, or words: no disk is so large
        return {"refused": f"{size}KiB"}
    if not {*elements.split()} - _NO_SYSTEM:
        return {"refused": "no operating system"}  # where its elements are expanded, which is left out here
    return {
        "arch": arch,
        "name": name,
        "elements": [*dict.fromkeys(elements.split())],
        "trace": int(trace),
        "offline": bool(offline),
        "size": int(size) * 1024 if _sized(example) else None,
        "mkfs": sorted(options.split()) if kind == "ext4" else options.split(),
        "label": label,
        "type": kind,
        "install": install,
        "arguments": arguments,
        "packages": [*dict.fromkeys(next((call[2:] for call in calls if call[0] == "inside"), []))],
        "files": _files(place),
        "converted": _converted(calls),
        "docker": [call[-1] for call in calls if call[0] == "docker"],
    }


def _files(place: Path) -> list[str]:
    found = [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()]
    left = (".vhd-intermediate", ".bak")  # nobody takes away what the conversion to vhd leaves
    return sorted(file for file in found if not file.startswith("tmp/") and not file.endswith(left))


def _converted(calls: Iterable[list[str]]) -> list[list[Any]]:
    made = []
    for call in calls:
        if call[0] == "qemu-img":
            kind = call[call.index("-O") + 1]
            options = call[call.index("-o") + 1].split(",") if "-o" in call else []
            made.append([kind, "-c" in call, options])
    return sorted(made)


def _sized(example: Example) -> bool:
    """Is there a size, after all options."""
    size = example["environment"].get("DIB_IMAGE_SIZE", "")
    for word, after in zip(example["words"], [*example["words"][1:], ""], strict=True):
        if word.startswith("--image-s"):
            size = word.partition("=")[2] if "=" in word else after
    return bool(size)


def _ours(example: Example, folder: Path) -> Answer:
    ramdisk = example["command"] == "ramdisk-image-create"
    environment = dict(example["environment"])
    place, scratch = folder / "ours", folder / "scratch"
    place.mkdir()
    try:
        asked = parse(example["command"], example["words"])
        before = Path.cwd()
        os.chdir(place)  # names of images are relative to the caller's folder
        try:
            told = translate(asked, example["words"], environment, ARCH, scratch, ramdisk=ramdisk)
        finally:
            os.chdir(before)
        environment.update(told.variables)
        disk = options_of(told.options.disk, environment, {}, "seed", told.options.elements)
    except (BuildError, UsageError) as error:
        return {"refused": str(error)}
    options = told.options
    if not {*options.elements} - _NO_SYSTEM:
        return {"refused": "no operating system"}
    trace = environment.get("DIB_DEBUG_TRACE", "0")
    outputs = [output.split(",") for output in options.outputs]
    kinds = {ours: theirs for theirs, ours in DISKS.items()}
    return {
        "arch": options.arch,
        "name": os.path.relpath(options.destination / options.name, place),
        "elements": list(options.elements),
        "trace": int(trace),
        "offline": options.offline,
        "size": -(-disk.size // 65536) * 65536 if disk.size else None,
        "mkfs": sorted(disk.mkfs) if disk.root_type == "ext4" else list(disk.mkfs),
        "label": disk.root_label,
        "type": disk.root_type,
        "install": environment.get("DIB_DEFAULT_INSTALLTYPE") or "source",
        "arguments": environment["DIB_ARGS"],
        "packages": list(_packages(options.packages)),
        "files": sorted(os.path.relpath(file, place) for file in told.results),
        "converted": sorted(
            [kinds[kind], "compress=zlib" in words, [word[5:] for word in words if word.startswith("qemu.")]]
            for kind, *words in outputs
            if kind in kinds and kind not in {"raw", "vhd"}
        ),
        "docker": [word[4:] for words in outputs for word in words if word.startswith("tag=")],
    }


def compressed_after_another(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder does not compress a qcow2 that it writes after an image of another type."""
    if "converted" not in theirs:
        return None
    whole = "-u" not in example["words"]
    converted = [[kind, kind == "qcow2" and whole, options] for kind, _, options in theirs["converted"]]
    return {**theirs, "converted": converted}


def docker_of_a_ramdisk(example: Example, theirs: Answer) -> Answer | None:
    """The tree of a ram disk goes to docker."""
    return REFUSED if example["command"] == "ramdisk-image-create" and theirs.get("docker") else None


def ext4_of_trusty(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder leaves a feature out of the root of Ubuntu 14.04."""
    if example["environment"].get("DIB_RELEASE") != "trusty" or "^metadata_csum" not in theirs.get("mkfs", []):
        return None
    options = list(theirs["mkfs"])
    options.remove("-O")
    options.remove("^metadata_csum")
    return {**theirs, "mkfs": options}


REASONS = {
    "docker-of-a-ramdisk": docker_of_a_ramdisk,
    "ext4-of-trusty": ext4_of_trusty,
    "compressed-after-another": compressed_after_another,
}
AREA = Area("commands", 5, examples(), both, REASONS)
