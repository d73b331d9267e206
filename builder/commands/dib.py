"""diskimage-builder's commands under their own names: disk-image-create, ramdisk-image-create, diskimage-builder."""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blockdev.core.checksum_files import CHECKSUMS, beside
from blockdev.core.errors import BuildError, UsageError
from builder.commands.build import build_one
from builder.commands.help import Command
from builder.commands.options import note
from builder.host_state.environment import of_caller
from builder.request.option_values import check_folders, from_environment, options_of
from builder.request.options import ReportOptions

if TYPE_CHECKING:
    from builder.frontends.dib.translate import Translation

_RAW = {"ignore_unknown_options": True, "allow_interspersed_args": True, "help_option_names": []}
# What -c leaves: where the user and the engine are, and dib-ctr's own settings.
_KEPT = re.compile(r"(HOME|PATH|TMPDIR|XDG_.*|CONTAINER_HOST|DOCKER_HOST|DIB_CTR_.*)\Z")
_ABOUT = """Usage: {command} [OPTION]... ELEMENT...

  -a ARCH                     the architecture [default: this machine's]
  -o NAME                     the name of the image, with its folder [default: image]
  -t TYPE,...                 qcow2 (default), raw, tar, tgz, docker, vhd, vmdk, vdi, vhdx
  -n                          leave the element base out
  -p PACKAGE,...              more packages
  -u                          do not compress a qcow2 image
  -x                          trace scripts (-x -x: helpers, too)
  -c                          begin with an empty environment
  --checksum                  MD5 and SHA-256 files beside the image
  --image-size GIB            the size of the disk
  --image-extra-size MIB      the size is the tree's and so much more
  --mkfs-options TEXT         for the root's mkfs
  --mkfs-journal-size MIB     the root's journal
  --max-online-resize BLOCKS  how far the root can grow while it is mounted
  --root-label LABEL          of the root file system
  --qemu-img-options K=V,...  for qemu-img
  --install-type TYPE         source (default) or package
  --docker-target NAME:TAG    the image's name for -t docker
  --ramdisk-element NAME      what makes a ramdisk [default: ramdisk]
  --offline                   no network
  --logfile FILE              what is said goes there
  --no-tmpfs, --min-tmpfs, --image-cache  taken, and of no effect
  -h, --help; --version

Everything in the environment that diskimage-builder heeds counts. docs/compatibility.md says what differs.
"""


def _kept_aside(file: Path, at: datetime) -> Path:
    """The name that an older image gets."""
    return file.with_name(f"{file.stem}-{at:%Y.%m.%d-%H.%M.%S}{file.suffix}")


def _is_checksum(file: Path) -> bool:
    return file.suffix.removeprefix(".") in CHECKSUMS


def set_aside(results: tuple[Path, ...], environment: Mapping[str, str], at: datetime) -> dict[Path, Path]:
    """Which older images get another name, with their checksum files; none where they are to be overwritten."""
    if environment.get("OVERWRITE_OLD_IMAGE", "0") not in ("", "0"):
        return {}
    moves = {}
    for file in results:
        if _is_checksum(file) or not file.is_file():
            continue
        aside = _kept_aside(file, at)
        moves[file] = aside
        for name in CHECKSUMS:
            if beside(file, name).is_file():
                moves[beside(file, name)] = beside(aside, name)
    return moves


@contextlib.contextmanager
def _one_status() -> Iterator[None]:
    """diskimage-builder knows one status for all failures: 1, a wrong option or file counted in."""
    try:
        yield
    except UsageError as error:
        raise BuildError(error.what, where=error.where, hint=error.hint) from error


@_one_status()
def _run(command: str, argv: tuple[str, ...], *, ramdisk: bool) -> None:
    from builder.frontends.dib.arguments import parse
    from builder.frontends.dib.log_output import logged
    from builder.frontends.dib.translate import translate
    from builder.host_state.probe_results import cache_folder
    from qemu.architecture import native

    environment = of_caller()
    asked = parse(command, argv)
    if asked.help:
        click.echo(_ABOUT.format(command=command), nl=False)
        return
    if asked.version:
        from importlib.metadata import version

        click.echo(version("dib-ctr"))
        return
    if asked.clear or environment.get("CLEAR_ENV") == "1":
        for name in [name for name in environment if not _KEPT.match(name)]:
            del environment[name]
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dib-ctr-", dir=cache_folder()) as scratch:
        translation = translate(asked, argv, environment, native(), Path(scratch), ramdisk=ramdisk)
        for sentence in translation.notes:
            note(sentence)
        environment.update(translation.variables)
        with logged(translation.logfile or (os.devnull if translation.quiet else ""), quiet=translation.quiet):
            _build(translation, environment)


def _build(translation: Translation, environment: Mapping[str, str]) -> None:
    from builder.frontends.dib.aci_image import application_image
    from builder.frontends.dib.environment import variables_in

    engine = options_of(from_environment(environment)).engine
    check_folders(translation.options)
    settings = variables_in(_texts(translation.options.elements, environment), environment)
    options = replace(
        translation.options,
        settings=tuple(f"{name}={value}" for name, value in settings.items()),
        engine=engine,
    )
    with _aside(set_aside(translation.results, environment, datetime.now())):
        build_one(options)
        if translation.application:
            application_image(*translation.application)


def _texts(elements: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """The texts of all files of these elements and of what they need."""
    from builder.request.elements import elements_path
    from stages.element.hooks import read_folder
    from stages.element.resolve import find_elements, resolve

    for element in resolve(elements, find_elements(elements_path("", environment))).elements:
        for hook in read_folder(element.name, element.path).values():
            yield hook.text


def _link(file: Path, other: Path) -> None:
    """Another name for a file; a copy where the file system has no such names."""
    try:
        os.link(file, other)
    except OSError:
        shutil.copy2(file, other)


@contextlib.contextmanager
def _aside(moves: Mapping[Path, Path]) -> Iterator[None]:
    """Older images have another name as well while a build lasts, and that one alone once it has succeeded.

    A build's outputs get their names when they are whole: until then the older ones are there as they were.
    """
    try:
        for file, aside in moves.items():
            _link(file, aside)
        yield
    except BaseException:
        for aside in moves.values():
            aside.unlink(missing_ok=True)
        raise
    for file, aside in moves.items():
        same = file.exists() and (file.samefile(aside) or filecmp.cmp(file, aside, shallow=False))
        if same:  # nothing has changed, and the build left it where it was
            aside.unlink()
        elif not _is_checksum(aside):
            note(f"the image that was there is now {aside}")


@click.command("disk-image-create", context_settings=_RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def disk_image_create(arguments: tuple[str, ...]) -> None:
    """diskimage-builder's command: the same options, names and variables."""
    _run("disk-image-create", arguments, ramdisk=False)


@click.command("ramdisk-image-create", context_settings=_RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def ramdisk_image_create(arguments: tuple[str, ...]) -> None:
    """diskimage-builder's command for a kernel and its ram disk."""
    _run("ramdisk-image-create", arguments, ramdisk=True)


@click.command("diskimage-builder", cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Only print the command lines.")
@click.option("--stop-on-failure", is_flag=True, help="Begin no further image after one has failed.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many images at a time [default: processors, memory].")
def diskimage_builder(files: tuple[Path, ...], *, dry_run: bool, stop_on_failure: bool, jobs: int | None) -> None:
    """Build the images of YAML files, as the command of that name does; independent ones at a time.

    Images that have stages in common share their layers: one builds them, the others wait.
    """
    from builder.commands.images_file import run_images
    from builder.fleet.outcome import BUILT
    from builder.fleet.run import Runner, RunOptions
    from builder.fleet.schedule import limits
    from builder.fleet.view import Prefixed
    from builder.frontends.images_file.load import dib_images, shown_command

    with _one_status():
        images = dib_images(files)
    for image in images:
        note(shown_command(image))
    if dry_run:
        return
    runner = Runner(RunOptions(limits(jobs), keep_going=not stop_on_failure), Prefixed())
    try:
        run_images(runner, images, ReportOptions())
    finally:
        built = [outcome.image.name for outcome in runner.outcomes.values() if outcome.status == BUILT]
        note(f"built: {', '.join(built) or 'none'}")
