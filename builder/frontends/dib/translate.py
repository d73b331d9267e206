"""What ``dib-ctr build`` is asked for a command line of disk-image-create or ramdisk-image-create.

Pure: from the arguments and the environment to the options of the build, the changes of the environment, the files that
come out of it, and what is worth a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core.checksum_files import CHECKSUMS
from blockdev.core.errors import BuildError
from builder.frontends.dib.aci_image import manifest_of
from builder.frontends.dib.arguments import VALUES, Asked
from builder.frontends.dib.remarks import remarks
from builder.request.image_names import is_image_name
from builder.request.options import BuildOptions, DiskOptions
from stages.element.environment import PYTHON
from stages.element.hooks import PHASES
from stages.plan.breakpoints import is_point

DISKS = {
    "qcow2": "qcow2",
    "raw": "raw",
    "vhd": "vhd",
    "vpc": "vhd",
    "vmdk": "vmdk-sparse",
    "vdi": "vdi",
    "vhdx": "vhdx",
}
TREES = ("tar", "tgz", "squashfs", "aci", "docker")
_SUFFIXES = {"squashfs": "squash"}
_ROOTFS = "rootfs.tar"  # the tree of an application container image, until its manifest is there
SUMMED = (*DISKS, "tgz")  # what checksums are made of


@dataclass(frozen=True)
class Translation:
    """``options`` are those of ``dib-ctr build``; ``variables`` come on top of the environment's own.

    ``results`` are the files that come out (checksums beside them counted in); ``logfile`` is where all that is said
    goes, ``quiet`` whether it goes nowhere else. ``application`` are the tar of an application container image,
    its manifest and its place.
    """

    options: BuildOptions
    variables: Mapping[str, str] = field(default_factory=dict)
    results: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    logfile: str = ""
    quiet: bool = False
    application: tuple[Path, Path | None, Path] | None = None


def elements_of(asked: Asked, environment: Mapping[str, str], arch: str, *, ramdisk: bool) -> tuple[str, ...]:
    """The elements with those that diskimage-builder adds: a layout for ``vm``, ``base``, a ramdisk's.

    Its driver puts those of the command line after what the variable IMAGE_ELEMENT has, and heeds SKIP_BASE.
    """
    elements = [*environment.get("IMAGE_ELEMENT", "").split(), *asked.elements]
    if "vm" in elements and not any(name.startswith("block-device-") for name in elements):
        elements.append("block-device-efi" if arch and arch in "arm64 aarch64" else "block-device-mbr")
    if not asked.skip_base and environment.get("SKIP_BASE") != "1":
        elements.insert(0, "base")
    if ramdisk:
        elements[:0] = (_value_of(asked, "ramdisk-element", environment, "RAMDISK_ELEMENT") or "ramdisk").split()
    return tuple(dict.fromkeys(elements))


def _value_of(asked: Asked, option: str, environment: Mapping[str, str], variable: str) -> str:
    """An option's value, an empty one too; without it the variable's."""
    return asked.values.get(option, environment.get(variable, ""))


def checksums_of(asked: Asked, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Which checksum files are wanted: DIB_CHECKSUM is 1 for both, or names them."""
    setting = "1" if asked.checksum else environment.get("DIB_CHECKSUM", "0")
    return tuple(name for name in sorted(CHECKSUMS) if setting == "1" or name in setting)


def types_of(asked: Asked) -> tuple[str, ...]:
    """The types, each once; BuildError for one that nothing here writes."""
    types = tuple(dict.fromkeys(asked.types))
    if not types:
        raise BuildError("no type is named", hint="-t qcow2")
    for kind in types:
        if kind not in (*DISKS, *TREES):
            raise BuildError(f"there is no type {kind!r}", hint=f"types: {', '.join((*DISKS, *TREES))}")
    if "docker" in types and not asked.values.get("docker-target"):
        raise BuildError("the type docker needs a name for the image", hint="--docker-target NAME:TAG")
    if "docker" in types and not is_image_name(_whole(asked.values["docker-target"])):
        raise BuildError(
            f"--docker-target is {asked.values['docker-target']!r}, which cannot be the name of an image",
            hint="NAME:TAG or HOST/NAME:TAG, with letters, digits and single . _ - between them",
        )
    return types


def _whole(target: str) -> str:
    """The name of an image with a tag."""
    return target if ":" in target.rpartition("/")[2] else f"{target}:latest"


def _output(kind: str, file: Path, asked: Asked, environment: Mapping[str, str], scratch: Path) -> str:
    """The option ``-o`` for one type."""
    if kind == "aci":
        return f"tar,prefix=rootfs,dest={scratch}/{_ROOTFS}"
    words = [f"dest={file}"]
    if kind in SUMMED:
        words.append(f"checksum={'+'.join(reversed(checksums_of(asked, environment))) or 'none'}")
    if kind == "qcow2":
        words.append(f"compress={'none' if asked.uncompressed else 'zlib'}")
    if kind in DISKS and kind != "raw":
        text = _value_of(asked, "qemu-img-options", environment, "QEMU_IMG_OPTIONS")
        words += [f"qemu.{word}" for word in text.split(",") if word]
    if kind in ("tar", "tgz"):
        words.append("prefix=.")  # users take single files out by these names
    if kind == "tgz":
        words.append("compress=gzip")
    return ",".join([DISKS.get(kind, "tar" if kind == "tgz" else kind), *words])


def translate(
    asked: Asked, argv: Sequence[str], environment: Mapping[str, str], arch: str, scratch: Path, *, ramdisk: bool
) -> Translation:
    """Everything that follows from a command line, its words ``argv`` and the environment.

    ``arch`` is the architecture where none is asked for, ``scratch`` a folder for what nobody asked for. BuildError
    (status 1) for what cannot be.
    """
    if not asked.elements:
        raise BuildError("no element is named", hint="at least one that is a distribution: debian-minimal vm")
    types = types_of(asked)
    name = (environment.get("IMAGE_NAME", "") if asked.name is None else asked.name) or "image"
    if len(types) == 1:
        name = name.removesuffix(f".{types[0]}")
    wanted_arch = (environment.get("ARCH", "") if asked.arch is None else asked.arch) or arch
    kinds = _beside_ramdisk(types) if ramdisk else types
    places = {kind: Path(f"{name}.{_SUFFIXES.get(kind, kind)}").absolute() for kind in kinds if kind != "docker"}
    outputs = [_output(kind, file, asked, environment, scratch) for kind, file in places.items()]
    sums = checksums_of(asked, environment)
    loads = "docker" in kinds
    if ramdisk:  # its kernel and ram disk are files that scripts leave in the caller's folder
        outputs.append("files")
    elif loads:
        outputs.append(f"docker-archive,tag={_whole(asked.values['docker-target'])},slim=no,dest={scratch}/image.tar")
    options = BuildOptions(
        elements=elements_of(asked, environment, wanted_arch, ramdisk=ramdisk),
        name=Path(name).name,
        destination=Path(name).absolute().parent,
        arch=wanted_arch,
        replace=True,  # diskimage-builder never asks who wrote an image
        outputs=tuple(outputs),
        no_documents=loads,
        load=loads,
        packages=asked.packages,
        offline=asked.offline or bool(environment.get("DIB_OFFLINE")),
        disk=DiskOptions(mkfs_options=asked.values.get("mkfs-options", ""), always=not ramdisk),
        **break_options(environment),
    )
    return Translation(
        options=options,
        variables=_variables(asked, argv, environment),
        results=tuple(
            file.with_name(f"{file.name}{end}")
            for kind, file in places.items()
            for end in (*(f".{name}" for name in sums if kind in SUMMED), "")
        ),
        notes=tuple(remarks(asked, environment, types)),
        logfile=asked.values.get("logfile", ""),
        quiet=environment.get("DIB_QUIET", "1" if asked.values.get("logfile") else "0") == "1",
        application=(scratch / _ROOTFS, manifest_of(environment.get("ACI_MANIFEST", "")), places["aci"])
        if "aci" in places
        else None,
    )


def _beside_ramdisk(types: Sequence[str]) -> tuple[str, ...]:
    """The types of a ram disk's own tree that are written beside it, as in DIB: no disks, and the tar of a tgz."""
    if "docker" in types:
        raise BuildError("a ram disk's tree does not go to docker", hint="leave the type docker out, or take tar")
    return tuple(dict.fromkeys("tar" if kind == "tgz" else kind for kind in types if kind in TREES))


def _break_points(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(point for point in environment.get("break", "").split(",") if point)


def break_options(environment: Mapping[str, str]) -> dict[str, Any]:
    """The fields of ``BuildOptions`` that ``break``, ``break_cmd`` and ``break_outside_target`` ask for.

    BuildError for what is no point. diskimage-builder runs ``break_cmd`` at some points and bash at others; here it
    runs at all.
    """
    points = []
    for point in _break_points(environment):
        breakpoint_ = "error" if point == "after-error" else point
        if breakpoint_.endswith("-block-device"):
            continue  # no script of that phase exists
        if ":" in breakpoint_ or point == "error" or not is_point(breakpoint_):
            phases = ", ".join(phase.name for phase in PHASES)
            raise BuildError(
                f"break={point}: there is no such point", hint=f"after-error, before-PHASE, after-PHASE: {phases}"
            )
        points.append(breakpoint_)
    if not points:
        return {}
    return {
        "breaks": tuple(points),
        "break_command": environment.get("break_cmd", ""),
        "break_outside": bool(environment.get("break_outside_target")),
    }


def _variables(asked: Asked, argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    variables = {VALUES[name]: value for name, value in asked.values.items() if VALUES[name]}
    variables["DIB_ARGS"] = " ".join(argv)
    if asked.trace:
        started = environment.get("DIB_DEBUG_TRACE", "0")
        variables["DIB_DEBUG_TRACE"] = str(asked.trace + (int(started) if started.isdigit() else 0))
    if asked.checksum:
        variables["DIB_CHECKSUM"] = "1"
    if environment.get("DIB_PYTHON_EXEC"):
        variables["DIB_PYTHON_EXEC"] = PYTHON  # scripts would not find this machine's
    return variables
