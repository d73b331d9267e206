"""Options that several commands share, and what they come to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blockdev.core.errors import UsageError
from stages.protocol.request import OUTPUT_TYPES

if TYPE_CHECKING:
    from builder.build.run import BuildSession
    from builder.remote_cache.session import Exchange
    from builder.request.options import BuildOptions
    from builder.request.prepared_build import PreparedBuild
    from stages.redaction.redaction import Redaction

ENGINES = ("auto", "podman", "docker", "podman-socket", "docker-socket", "host")
PROGRESS = ("auto", "live", "plain", "json")

Command = Callable[..., Any]


def note(text: str, end: str = "\n") -> None:
    click.echo(text + end, nl=False, err=True)


def engine_options(command: Command) -> Command:
    for option in (
        click.option("--debug", is_flag=True, help="Show tracebacks."),
        click.option(
            "--host",
            default="",
            metavar="ADDRESS",
            help="Where the engine is: unix://, tcp://, ssh://, or the name of podman's connection, docker's context.",
        ),
        click.option("--store", metavar="DIR", help="Where the store of the host engine is [env: DIB_CTR_STORE]."),
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default="auto",
            show_default=True,
            envvar="DIB_CTR_ENGINE",
            help="What runs the build [env: DIB_CTR_ENGINE].",
        ),
    ):
        command = option(command)
    return command


def _with_settings(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    from builder.fleet import variables

    return (*variables.taken(), *given) if variables.VARIABLE in os.environ else given


def request_options(command: Command) -> Command:
    for option in (
        click.argument("elements", nargs=-1, metavar="ELEMENT..."),
        click.option(
            "--from",
            "base",
            default="",
            metavar="IMAGE",
            help="Begin with an image: HOST/NAME:TAG, oci:DIR, oci-archive:FILE, docker-archive:FILE;"
            " or with what a Containerfile gives: containerfile:PATH.",
        ),
        click.option("--offline", is_flag=True, help="Cut the network; take repositories as they were seen last."),
        click.option(
            "--snapshot",
            default="",
            metavar="TIME",
            help="Take packages from a snapshot of their archive: 20261101T000000Z or 2026-11-01"
            " [its service: env DIB_CTR_SNAPSHOT_URL].",
        ),
        click.option(
            "--locked",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Build exactly what this lock names, or fail naming what is gone.",
        ),
        click.option("--no-cache", is_flag=True, help="Run every stage; packages still come from the package cache."),
        click.option(
            "-p", "--package", "packages", multiple=True, metavar="NAME", help="Install a package (repeatable, or A,B)."
        ),
        click.option(
            "--elements-path",
            default="",
            metavar="DIR:DIR",
            help="Where to look for elements first [env: ELEMENTS_PATH].",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            callback=_with_settings,
            metavar="NAME=VALUE",
            help="Set an element's variable; DIB_* of the environment count too.",
        ),
        click.option(
            "--secret",
            "secrets",
            multiple=True,
            metavar="NAME",
            help="This variable is secret (repeatable; * in a name counts); its value may come from the environment.",
        ),
        click.option("--release", default="", help="The distribution's release (sets DIB_RELEASE)."),
        click.option(
            "--arch",
            default="",
            help="The image's architecture [default: this machine's]; build takes several: amd64,arm64.",
        ),
        click.option("--name", default="", help="The image's name [default: the operating-system element's]."),
    ):
        command = option(command)
    return engine_options(command)


CACHE_EXAMPLE = "type=registry,ref=HOST/NAME:TAG or type=dir,path=DIR or type=gha"


def cache_options(command: Command) -> Command:
    """Caches elsewhere, to read from and to write to (``builder.remote_cache.spec``)."""
    for option in (
        click.option(
            "--cache-to",
            multiple=True,
            metavar="SPEC",
            help=f"Send the layers of the build to a cache (repeatable): {CACHE_EXAMPLE}.",
        ),
        cache_from_option,
    ):
        command = option(command)
    return command


cache_from_option = click.option(
    "--cache-from",
    multiple=True,
    metavar="SPEC",
    help=f"Take layers from a cache before running a stage (repeatable, asked in order): {CACHE_EXAMPLE}.",
)


def exchange_of(options: dict[str, Any]) -> Exchange | None:
    """The caches that the options name; UsageError for what cannot be."""
    read, write = options.get("cache_from", ()), options.get("cache_to", ())
    if not read and not write:
        return None
    from builder.remote_cache.open import open_caches
    from builder.remote_cache.session import Exchange
    from builder.remote_cache.spec import parse_all

    reading, writing = parse_all(read, writing=False), parse_all(write, writing=True)
    if options.get("offline"):
        for spec in (*reading, *writing):
            if spec.kind != "dir":
                note(f"--offline: the cache {spec.name} is not asked")
        reading = tuple(spec for spec in reading if spec.kind == "dir")
        writing = tuple(spec for spec in writing if spec.kind == "dir")
    return Exchange(*open_caches(reading, writing, note), note)


def output_options(command: Command) -> Command:
    for option in (
        click.option(
            "--dest",
            "destination",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path(),
            help="The folder for outputs [default: here].",
        ),
        click.option("--replace", is_flag=True, help="Also replace files there that no build of yours wrote."),
        click.option("--no-documents", is_flag=True, help="Write no SBOMs and no provenance beside images."),
        click.option("--no-slim", is_flag=True, help="Leave everything in: documentation, locales, caches."),
        click.option(
            "--slim",
            default="",
            metavar="POLICY",
            help="What to leave out: a policy's name, or a YAML file [default: the distribution's own, for images].",
        ),
        click.option(
            "-o",
            "--output",
            "outputs",
            multiple=True,
            metavar="TYPE[,KEY=VALUE]...",
            help=f"What to write (repeatable): {', '.join(OUTPUT_TYPES)}, files [default: oci].",
        ),
    ):
        command = option(command)
    return command


DISK_OPTIONS = {
    "image_size": ("GIB", "The size of the disk, in GiB or with a unit [default: what the tree needs]."),
    "extra_size": ("MIB", "The size is that of the tree and so much more, in MiB or with a unit."),
    "root_label": ("LABEL", "The label of the root file system [default: cloudimg-rootfs]."),
    "root_fs": ("TYPE", "The type of the root file system [default: ext4]."),
    "mkfs_options": ("TEXT", "Options for the root's mkfs, in one text."),
    "journal_size": ("MIB", "The journal of an ext4 root, in MiB [default: 64]."),
    "max_online_resize": ("BLOCKS", "Let the root file system grow to this many blocks while it is mounted."),
    "configuration": ("FILE", "The block-device configuration [env: DIB_BLOCK_DEVICE_CONFIG]."),
}
_DISK_NAMES = {
    "extra_size": "--image-extra-size",
    "journal_size": "--mkfs-journal-size",
    "configuration": "--block-device",
}


def disk_options(command: Command) -> Command:
    for name, (metavar, about) in reversed(DISK_OPTIONS.items()):
        flag = _DISK_NAMES.get(name, "--" + name.replace("_", "-"))
        command = click.option(flag, f"disk_{name}", default="", metavar=metavar, help=about)(command)
    return click.option(
        "--privileged",
        "disk_privileged",
        is_flag=True,
        flag_value="yes",
        default="",
        help="Allow a container with the host's root and loop devices, for a disk that needs one.",
    )(command)


def disk_wish(options: dict[str, Any]) -> dict[str, str]:
    """What was given of :func:`disk_options`."""
    found = {name: options.get(f"disk_{name}") or "" for name in (*DISK_OPTIONS, "privileged")}
    return {name: text for name, text in found.items() if text}


def push_options(command: Command) -> Command:
    for option in (
        click.option("--sign-key", default="", metavar="KEY", help="A key for --sign: a file, or what cosign takes."),
        click.option("--sign", is_flag=True, help="Sign what was pushed, with cosign."),
        click.option(
            "--authfile",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Credentials [default: the engines' own].",
        ),
        click.option("--insecure", is_flag=True, help="Push without TLS, or to a certificate nobody vouches for."),
    ):
        command = option(command)
    return command


def log_options(command: Command) -> Command:
    for option in (
        click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Write the full log here."),
        click.option(
            "--progress", type=click.Choice(PROGRESS), default="auto", show_default=True, help="What to show."
        ),
    ):
        command = option(command)
    return command


def slim(options: dict[str, Any]) -> str:
    from builder.request.outputs import NO_SLIM

    if options["no_slim"] and options["slim"]:
        raise UsageError("--slim and --no-slim exclude each other")
    return NO_SLIM if options["no_slim"] else str(options["slim"])


def wish_of(options: dict[str, Any], **more: Any) -> BuildOptions:
    from builder.request.options import BuildOptions, LockOptions

    if not options["elements"] and not options["base"]:
        raise UsageError("no element is named", hint="`dib-ctr elements` lists all there are; or --from IMAGE")
    names = (
        "elements",
        "base",
        "name",
        "arch",
        "release",
        "settings",
        "secrets",
        "elements_path",
        "packages",
        "no_cache",
        "offline",
    )
    locks = LockOptions(options.get("lock"), options["locked"], options.get("vendor"), options["snapshot"])
    return BuildOptions(**{name: options[name] for name in names}, locks=locks, disk=disk_wish(options), **more)


def open_session(prepared: PreparedBuild | None, options: dict[str, Any], *, quiet: bool = False) -> BuildSession:
    """The agent of the chosen engine, and who shows what it says."""
    from builder import engines
    from builder.build.client import BuildContainer
    from builder.build.run import BuildSession
    from builder.build_image.ensure import purpose_of
    from builder.progress.event_channel import tell, told
    from builder.progress.report import Log, Plain, reporter
    from builder.request import limits
    from qemu.architecture import native, runs

    if options["store"]:
        os.environ["DIB_CTR_STORE"] = options["store"]
    limits.settings()
    engine = engines.select(options["engine"], options.get("host", ""))
    foreign = prepared is not None and not runs(native(), prepared.request.arch)
    purpose = purpose_of(prepared.build_image if prepared else "", foreign=foreign)
    container = BuildContainer(engine, purpose, note, options["debug"])
    log = Log.open(options.get("log"), prepared.request.name if prepared else "cache")
    tell(type="log-file", path=str(log.path))
    shown = Plain(out=sys.stderr, github=False) if quiet else told(reporter(options.get("progress", "plain")))
    beside = prepared.locks.locked.parent if prepared and prepared.locks.locked else Path()
    if prepared is None:
        return BuildSession(container, shown, log, again(options), beside)
    return BuildSession(
        container,
        shown,
        log,
        again(options, prepared.redaction),
        beside,
        {element.name: element.path for element in prepared.elements},
        prepared.large,
        exchange=exchange_of(options),
        redaction=prepared.redaction,
    )


def again(options: dict[str, Any], redaction: Redaction | None = None) -> list[str]:
    """The command line that opens a shell with the same request; secrets are named, and come from the environment."""
    words = ["dib-ctr", "shell"]
    for name, flag in (
        ("engine", "--engine"),
        ("host", "--host"),
        ("store", "--store"),
        ("base", "--from"),
        ("name", "--name"),
        ("arch", "--arch"),
        ("release", "--release"),
        ("elements_path", "--elements-path"),
        ("locked", "--locked"),
        ("snapshot", "--snapshot"),
    ):
        value = options.get(name)
        if value and value != "auto":
            words += [flag, str(value)]
    if options.get("offline"):
        words.append("--offline")
    secrets = list(options.get("secrets", ()))
    for setting in options.get("settings", ()):
        name, _, value = setting.partition("=")
        if redaction and redaction.is_in(name, value):
            secrets.append(name)
        else:
            words += ["--set", setting]
    for name in dict.fromkeys(secrets):
        words += ["--secret", name]
    for name, flag in (("packages", "-p"), ("cache_from", "--cache-from")):
        for value in options.get(name, ()):
            words += [flag, value]
    return [*words, *options.get("elements", ())]
