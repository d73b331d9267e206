"""The command that starts a machine: boot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from blockdev.core.errors import UsageError
from builder.commands.help import Command
from builder.commands.options import note


@click.command(cls=Command)
@click.option(
    "--firmware", type=click.Choice(("bios", "uefi", "both")), help="How it starts [default: bios where there is one]."
)
@click.option(
    "--expect", default="", metavar="REGEX", help="Wait for a line of the console with this, not for the login prompt."
)
@click.option(
    "--kernel",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Start this kernel, without a boot loader; an image is then a disk beside it.",
)
@click.option(
    "--initrd", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The kernel's initial ram disk."
)
@click.option("--append", default="", metavar="TEXT", help="More for the kernel's command line than its console.")
@click.option("--ssh", is_flag=True, help="Wait until the SSH server answers; with a seed or a key also log in.")
@click.option(
    "--seed",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Give it a NoCloud seed: a folder with user-data, and meta-data, vendor-data, network-config where needed.",
)
@click.option(
    "--ssh-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Log in with this private key, which a seed gives to the image's user; it is made where there is none.",
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=300, show_default=True, metavar="SECONDS", help="For each boot."
)
@click.option("--arch", default="", help="The machine's architecture [default: the disk's, else this machine's].")
@click.option("--memory", type=click.IntRange(64), default=1024, show_default=True, metavar="MB")
@click.option("--cpus", type=click.IntRange(1), default=1, show_default=True)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Write the console's text here.")
@click.option("--interactive", is_flag=True, help="Give the machine this terminal; Ctrl-A X ends it.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", required=False, type=click.Path(path_type=Path))
def boot(
    *,
    firmware: str | None,
    expect: str,
    arch: str,
    kernel: Path | None,
    initrd: Path | None,
    append: str,
    interactive: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Start a machine from a disk image, or from a kernel, and see whether it comes up; the image stays as it is.

    It has come up when it shows its login prompt, or what else is waited for. The console is shown as it speaks.
    """
    import re

    from builder.host_state import probe_results
    from qemu.architecture import canonical, native
    from qemu.boot import Request, interact
    from qemu.boot import boot as run
    from qemu.machine import Kernel

    try:
        expected = re.compile(expect) if expect else None
    except re.error as error:
        raise UsageError(f"--expect is no regular expression: {error}", where=expect) from error
    if kernel is None and (initrd or append):
        option = "--initrd" if initrd else "--append"
        raise UsageError(f"{option} is for a kernel", hint=f"--kernel FILE, or leave {option} out")
    machine_arch = canonical(arch or native()) or arch
    if kernel is None and options["image"]:
        machine_arch = _of_disk(options["image"], machine_arch, asked=bool(arch))
    request = Request(
        arch=machine_arch,
        firmware=firmware or "",
        expect=expected,
        kernel=Kernel(kernel, initrd, append) if kernel else None,
        **options,
    )
    if interactive:
        if not sys.stdin.isatty():
            raise UsageError("--interactive needs a terminal", hint="leave it out, or run it on a terminal")
        sys.exit(interact(request, probe_results))
    for success in run(request, lambda text: click.echo(text, nl=False), probe_results):
        click.echo(str(success))


def _of_disk(image: Path, arch: str, *, asked: bool) -> str:
    """The architecture of the machine for a disk: the ``arch`` one, or where nobody ``asked`` for it the disk's own.

    UsageError where the disk's loaders are for others: it would be waited for in vain.
    """
    from blockdev.inspect.architecture import architectures

    arches = architectures(image)
    if not arches or arch in arches:
        return arch
    if asked:
        raise UsageError(
            f"this disk has boot loaders for {' and '.join(arches)}, none for {arch}",
            where=str(image),
            hint=f"--arch {arches[0]}, or leave --arch out",
        )
    note(f"{image.name} is a disk for {arches[0]}, and so is the machine that starts it")
    return arches[0]
