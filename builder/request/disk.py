"""What a request says of the disk that a tree is for: its block-device configuration, checked, and its options."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.bootloader.embed import check_zipl
from blockdev.configuration import source
from blockdev.configuration.nodes import Configuration, Luks
from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from blockdev.filesystems import KINDS
from blockdev.layout import fstab
from blockdev.layout.model import Layout
from blockdev.layout.plan import plan
from blockdev.privileged.filesystems import BY_KERNEL
from blockdev.privileged.reasons import PHASES as ON_DISK
from blockdev.privileged.reasons import needs_device_mapper
from blockdev.privileged.reasons import reasons as reasons_for
from builder.request.disk_options import options_of
from builder.request.options import DiskOptions
from stages.element import references
from stages.element.hooks import PHASES, SCRIPT_NAME, merge, scripts
from stages.element.resolve import Element
from stages.protocol.request import DISK_TYPES, Output

BLOCK_DEVICE = "block-device"  # what elements with a configuration provide
MACHINE, LOADER = "vm", "bootloader"
HYBRID, MBR = "block-device-hybrid", "block-device-mbr"
OWN_DISK = "block-device.d"  # a phase of diskimage-builder's, whose scripts may say which device the image is on
_DEVICE = b"IMAGE_BLOCK_DEVICE"
ZIPL = ("s390x",)  # architectures that start from a partition with kernel and ram disk
_WITH_EFI = ("amd64", "i386", "arm64", "armhf", "riscv64")
# Block sizes are compared with what a tree of this many bytes needs, to find what cannot fit before anything runs.
_NO_TREE = 0


def added_elements(
    names: Sequence[str], elements: Sequence[Element], outputs: Sequence[Output], arch: str
) -> list[str]:
    """The elements that a bootable disk needs beside those asked for: a layout and a boot loader for ``vm``."""
    if MACHINE not in names or not is_asked_for(outputs):
        return []
    more = []
    if not any(BLOCK_DEVICE in element.provides for element in elements):
        more.append(HYBRID if arch in _WITH_EFI else MBR)
    if LOADER not in names and not any(LOADER in element.provides for element in elements):
        more.append(LOADER)
    return more


def is_asked_for(outputs: Sequence[Output]) -> bool:
    """Is one of the outputs a disk image."""
    return any(output.type in DISK_TYPES for output in outputs)


@dataclass(frozen=True)
class Disk:
    """A checked description: ``data`` for ``stages.outputs.disk.job``, passphrases by container for the last step.

    ``notes`` are sentences for the user.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    passphrases: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def describe(
    name: str,
    arch: str,
    elements: Sequence[Element],
    variables: Mapping[str, str],
    asked: DiskOptions,
    outputs: Sequence[Output],
    environment: Mapping[str, str],
) -> Disk:
    """The disk of a request; an empty one where nothing asks for any. Raises UsageError for all that is wrong."""
    layouts = any(BLOCK_DEVICE in element.provides for element in elements)
    if asked.configuration:
        variables = {**variables, source.VARIABLE: f"file://{Path(asked.configuration).absolute()}"}
    if not (layouts or is_asked_for(outputs) or variables.get(source.VARIABLE) or asked.always):
        return Disk()
    text_source = source.find([(element.name, element.path) for element in elements], variables, arch)
    seed = f"{name}/{arch}/{hashlib.sha256(text_source.text.encode()).hexdigest()[:16]}"
    options = options_of(asked, variables, environment, seed, [element.name for element in elements])
    configuration = read(text_source.text, text_source.file)
    layout = plan(configuration, options, _NO_TREE)
    if arch in ZIPL and is_asked_for(outputs) and any(element.name == LOADER for element in elements):
        check_zipl(layout)
    check_kinds(configuration, layout)
    if is_asked_for(outputs):
        _check_own_disks(elements)
    own = [element for element in elements if text_source.file.startswith(f"{element.path}/")]
    passphrases = _passphrases(configuration, environment, own)
    reasons = _reasons(layout, elements) if is_asked_for(outputs) else ()
    if reasons:
        _check_privileged(reasons, asked, outputs)
    data: dict[str, Any] = {
        "text": text_source.text,
        "file": text_source.file,
        "options": dataclasses.asdict(options),
        "variables": _variables(layout),
    }
    if reasons:
        data["privileged"] = list(reasons)
        data["network"] = list(_with_network(elements))
        data["device_mapper"] = needs_device_mapper(layout)
    if passphrases or reasons:
        data["nonce"] = secrets.token_hex(8)
    odd = layout.remarks if is_asked_for(outputs) and not own else ()
    if is_asked_for(outputs) and not asked.always and not _has_loader(elements):
        odd = (*odd, "the disk starts no machine: no element brings a boot loader (vm does)")
    # (what is odd in an element's own configuration is said with all that is odd in elements)
    return Disk(data, passphrases, odd)


def _has_loader(elements: Sequence[Element]) -> bool:
    return any(element.name == LOADER or LOADER in element.provides for element in elements)


def check_kinds(configuration: Configuration, layout: Layout) -> None:
    """UsageError for a type of file system that nobody knows: no privileges would help."""
    kinds = (*KINDS, *BY_KERNEL)
    for system in layout.file_systems:
        if system.kind not in kinds:
            location = configuration.find(system.name).where
            where = location.of("type") if "type" in location.keys else "--root-fs, FS_TYPE"
            raise UsageError(
                f"there is no file system type {system.kind!r} (mkfs node {system.name!r})",
                where=where,
                hint=nearest(system.kind.lower(), kinds) or f"one of {', '.join(sorted(kinds))}",
            )


def _check_own_disks(elements: Sequence[Element]) -> None:
    """UsageError for a script that makes the disk itself, as elements did before there were configurations."""
    for element in elements:
        for file in sorted((element.path / OWN_DISK).glob("*")) if (element.path / OWN_DISK).is_dir() else ():
            if SCRIPT_NAME.match(file.name) and os.access(file, os.X_OK) and _DEVICE in file.read_bytes():
                raise UsageError(
                    f"element {element.name}: {OWN_DISK}/{file.name} makes a disk of its own, and no build runs it",
                    where=str(file),
                    hint="describe the disk in block-device-default.yaml, or with --block-device FILE; or -o tar",
                )


def _reasons(layout: Layout, elements: Sequence[Element]) -> tuple[str, ...]:
    """Why this disk cannot be made without privileges."""
    merged = merge([(element.name, element.path) for element in elements])
    texts = {
        f"{phase.name}/{script.element}/{script.path.rpartition('/')[2]}": script.text
        for phase in PHASES
        for script in scripts(merged, phase)
    }
    return reasons_for(layout, texts)


def _with_network(elements: Sequence[Element]) -> Iterator[str]:
    """The scripts that run on the disk and name a package tool or a downloader: they alone have a network."""
    merged = merge([(element.name, element.path) for element in elements])
    for phase in PHASES:
        for script in scripts(merged, phase) if phase.name in ON_DISK else ():
            if references.uses_network([script.text]):
                yield f"element {script.element}: {script.path} names a downloader or a package tool"


def _check_privileged(reasons: Sequence[str], asked: DiskOptions, outputs: Sequence[Output]) -> None:
    if not asked.privileged:
        raise UsageError(
            f"this disk cannot be made without privileges: {'; '.join(reasons)}",
            hint="leave that out, or allow a container with the host's root and loop devices: --privileged",
        )
    other = next((output.type for output in outputs if output.type not in DISK_TYPES), None)
    if other:
        raise UsageError(
            f"the output {other} cannot come from the same build as a disk whose last phases run on the disk itself",
            hint="build it with a command of its own",
        )
    if len({output.options.get("slim", "no") for output in outputs}) > 1:
        raise UsageError(
            "disks whose last phases run on the disk itself are made of one tree, and two policies were asked for",
            hint="name one with --slim",
        )


def _variables(layout: Layout) -> dict[str, str]:
    """What diskimage-builder's driver tells its elements of the disk, and the two tables."""
    boot = next((system.label for system in layout.file_systems if system.point == "/boot"), "")
    return {
        "DIB_ROOT_LABEL": layout.root.label,
        "DIB_ROOT_FSTYPE": layout.root.kind,
        "DIB_BOOT_LABEL": boot,
        "DIB_MOUNTPOINTS": "|".join(layout.mount_points),
        "DIB_CTR_ROOT": fstab.source(layout, layout.root),
        "DIB_CTR_FSTAB": fstab.fstab(layout),
        "DIB_CTR_CRYPTTAB": fstab.crypttab(layout),
    }


def _passphrases(
    configuration: Configuration, environment: Mapping[str, str], own: Sequence[Element]
) -> dict[str, str]:
    """The passphrases of encrypted containers in base64, by container.

    A configuration that is an element's ``own`` names no file of the user's machine but the element's.
    """
    passphrases = {}
    for node in configuration.of(Luks):
        if node.key_variable.startswith("DIB_"):
            raise UsageError(
                f"luks {node.name!r}: the variable {node.key_variable} would be shown to every element",
                where=str(node.where),
                hint="choose a name that does not begin with DIB_",
            )
        if node.key_variable:
            secret = os.fsencode(environment.get(node.key_variable, ""))
            if not secret:
                raise UsageError(
                    f"luks {node.name!r}: the variable {node.key_variable} is not set",
                    where=str(node.where),
                    hint="export it with the passphrase in it",
                )
        elif own and not Path(node.key_file).resolve().is_relative_to(own[0].path):
            raise UsageError(
                f"luks {node.name!r}: the key file {node.key_file} is not the element's ({own[0].name}) that names it",
                where=str(node.where),
                hint="if that is your key, use a configuration of your own: --block-device FILE",
            )
        else:
            try:
                secret = Path(node.key_file).read_bytes()
            except OSError as error:
                raise UsageError(
                    f"luks {node.name!r}: the key file {node.key_file} cannot be read: {error.strerror}",
                    where=str(node.where),
                ) from error
        passphrases[node.name] = base64.b64encode(secret).decode()
    return passphrases
