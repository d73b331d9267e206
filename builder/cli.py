"""The command line. It parses, and leaves the work to the modules that know it; what is not needed is not imported."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from stages.errors import BuildError, UsageError
from stages.request import OUTPUT_TYPES

if TYPE_CHECKING:
    from builder.build import Conversation
    from builder.push import Pushing
    from builder.request import Prepared, Wish

ENGINES = ("auto", "podman", "docker", "podman-socket", "docker-socket", "host")
PROGRESS = ("auto", "live", "plain", "json")
INTERRUPTED = 130

Command = Callable[..., Any]


def _note(text: str) -> None:
    click.echo(text, err=True)


# -- options that several commands share ------------------------------------------------------------


def _engine_options(command: Command) -> Command:
    for option in (
        click.option("--debug", is_flag=True, help="Show tracebacks."),
        click.option("--store", metavar="DIR", help="Where the store of the host engine is [env: DIB_CTR_STORE]."),
        click.option(
            "--engine", type=click.Choice(ENGINES), default="auto", show_default=True, help="What runs the build."
        ),
    ):
        command = option(command)
    return command


def _request_options(command: Command) -> Command:
    for option in (
        click.argument("elements", nargs=-1, required=True, metavar="ELEMENT..."),
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
            metavar="NAME=VALUE",
            help="Set an element's variable; DIB_* of the environment count too.",
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
    return _engine_options(command)


def _output_options(command: Command) -> Command:
    for option in (
        click.option(
            "--dest",
            "destination",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path(),
            help="The folder for outputs [default: here].",
        ),
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
            help=f"What to write (repeatable): {', '.join(OUTPUT_TYPES)} [default: oci].",
        ),
    ):
        command = option(command)
    return command


def _push_options(command: Command) -> Command:
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


def _log_options(command: Command) -> Command:
    for option in (
        click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Write the full log here."),
        click.option(
            "--progress", type=click.Choice(PROGRESS), default="auto", show_default=True, help="What to show."
        ),
    ):
        command = option(command)
    return command


def _slim(options: dict[str, Any]) -> str:
    from builder.request import NO_SLIM

    if options["no_slim"] and options["slim"]:
        raise UsageError("--slim and --no-slim exclude each other")
    return NO_SLIM if options["no_slim"] else str(options["slim"])


def _wish(options: dict[str, Any], **more: Any) -> Wish:
    from builder.request import LockWish, Wish

    names = ("elements", "name", "arch", "release", "settings", "elements_path", "packages", "no_cache", "offline")
    locks = LockWish(options.get("lock"), options["locked"], options.get("vendor"), options["snapshot"])
    return Wish(**{name: options[name] for name in names}, locks=locks, **more)


def _conversation(prepared: Prepared | None, options: dict[str, Any], *, quiet: bool = False) -> Conversation:
    """The agent of the chosen engine, and who shows what it says."""
    from builder import engines
    from builder.build import Agent, Conversation
    from builder.progress import Log, Plain, reporter
    from qemu.architecture import native, runs

    if options["store"]:
        os.environ["DIB_CTR_STORE"] = options["store"]
    engine = engines.select(options["engine"])
    foreign = prepared is not None and not runs(native(), prepared.request.arch)
    agent = Agent(engine, "foreign" if foreign else "debian", _note, options["debug"])
    log = Log.open(options.get("log"), prepared.request.name if prepared else "cache")
    shown = Plain(out=sys.stderr, github=False) if quiet else reporter(options.get("progress", "plain"))
    beside = prepared.locks.locked.parent if prepared and prepared.locks.locked else Path()
    return Conversation(agent, shown, log, _again(options), beside)


def _again(options: dict[str, Any]) -> list[str]:
    """The command line that opens a shell with the same request."""
    words = ["dib-ctr", "shell"]
    for name, flag in (
        ("engine", "--engine"),
        ("store", "--store"),
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
    for name, flag in (("settings", "--set"), ("packages", "-p")):
        for value in options.get(name, ()):
            words += [flag, value]
    return [*words, *options.get("elements", ())]


# -- commands --------------------------------------------------------------------------------


class CommandAfterDashes(click.Command):
    """A command line that may end in ``-- COMMAND...``, which goes to ``context.meta["command"]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take away what follows the first ``--``."""
        if "--" in args:
            place = args.index("--")
            ctx.meta["command"], args = args[place + 1 :], args[:place]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line names it too."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dib-ctr", prog_name="dib-ctr", message="%(prog)s %(version)s")
def cli() -> None:
    """Build operating system images from elements: no root, every script a cached layer."""


def _check_load(engine: str, *, load: bool) -> None:
    if load and engine == "host":
        raise UsageError("--load needs an engine that has images", hint="--engine podman or docker")


@cli.command()
@_request_options
@_log_options
@_output_options
@click.option(
    "--lock",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what was used: repositories, packages with checksums, build image.",
)
@click.option(
    "--vendor",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the lock to DIR/lock.json, and beside it all packages and lists that --locked needs.",
)
@_push_options
@click.option("--push", "reference", default="", metavar="HOST/NAME:TAG", help="Push the image to this registry.")
@click.option("--load", is_flag=True, help="Put the image into the engine's own images as well.")
@click.option(
    "--break", "breaks", multiple=True, metavar="POINT", help="Open a shell at before:STAGE, after:STAGE or error."
)
def build(**options: Any) -> None:
    """Build an image.

    Outputs take options: -o oci,layers=stages,tag=1.0  -o tar,compress=zstd  -o oci-archive,dest=/srv/image.tar
    """
    from builder.build import build as run
    from builder.request import prepare

    wish = _wish(
        options,
        outputs=options["outputs"] or ("oci",),
        destination=options["destination"],
        breaks=options["breaks"],
        slim=_slim(options),
        no_documents=options["no_documents"],
    )
    say = _note if options["progress"] == "json" else click.echo
    pushing = _pushing(options, wish.outputs)
    if pushing:
        pushing.check()
    if "," in options["arch"]:
        places = _build_several(wish, options, say)
    else:
        prepared = prepare("build", wish)
        _check_load(options["engine"], load=options["load"])
        conversation = _conversation(prepared, options)
        _check_load(conversation.agent.engine.name, load=options["load"])  # "auto" may have become the host
        run(prepared, conversation, load=options["load"], folder=options["destination"], say=say)
        places = list(prepared.targets)
    if pushing:
        say(pushing.run(next(place for place in places if (place / "oci-layout").is_file())))


def _pushing(options: dict[str, Any], outputs: Sequence[str]) -> Pushing | None:
    """What is to be pushed and signed after the build; UsageError for what cannot be."""
    if not options["reference"]:
        for name in ("sign", "insecure", "authfile", "sign_key"):
            if options[name]:
                raise UsageError(f"--{name.replace('_', '-')} is of use with --push only", hint="--push HOST/NAME:TAG")
        return None
    from builder.push import Pushing, parse_reference

    if not any(output.partition(",")[0] == "oci" for output in outputs):
        raise UsageError("--push takes the output oci, which is not among those asked for", hint="add -o oci")
    reference = parse_reference(options["reference"])
    return Pushing(reference, options["insecure"], options["authfile"], options["sign"], options["sign_key"], _note)


@cli.command("push")
@_push_options
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("reference", metavar="HOST/NAME:TAG")
def push_image(*, image: Path, **options: Any) -> None:
    """Push IMAGE, a layout (NAME.oci), with the documents attached to it."""
    if not (image / "oci-layout").is_file():
        raise UsageError(f"{image} is no image layout", hint="build one with -o oci")
    pushing = _pushing(options, ("oci",))
    assert pushing is not None
    pushing.check()
    click.echo(pushing.run(image))


def _build_several(wish: Wish, options: dict[str, Any], say: Callable[[str], None]) -> list[Path]:
    from builder.several import build as run

    if options["load"]:
        raise UsageError("--load takes an image of one architecture", hint="name one with --arch")

    def converse(prepared: Prepared) -> Conversation:
        return _conversation(prepared, {**options, "arch": prepared.request.arch})

    return run(wish, options["arch"].split(","), converse, say=say)


@cli.command()
@_request_options
@_output_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(*, as_json: bool, **options: Any) -> None:
    """Show the stages of a build: which are in the cache, and why the others are not."""
    from builder.build import plan as ask
    from builder.progress import plan_table
    from builder.request import prepare

    prepared = prepare(
        "plan",
        _wish(options, outputs=options["outputs"], destination=options["destination"], slim=_slim(options)),
    )
    stages = ask(prepared, _conversation(prepared, options, quiet=True))
    click.echo(json.dumps(stages, indent=1) if as_json else plan_table(stages))


@cli.command(cls=CommandAfterDashes)
@_request_options
@click.option(
    "--at",
    default="",
    metavar="STAGE",
    help="The tree as this stage finds it, by number, script or title [default: finished].",
)
@click.pass_context
def shell(context: click.Context, /, *, at: str, **options: Any) -> NoReturn:
    """Open a shell in the tree of a build, or run a command there; what is changed there is thrown away."""
    from builder.build import shell as enter
    from builder.request import prepare

    prepared = prepare("shell", _wish(options))
    command = context.meta.get("command", ())
    sys.exit(enter(prepared, _conversation(prepared, options, quiet=True), at, command))


@cli.command()
@click.option(
    "--elements-path", default="", metavar="DIR:DIR", help="Where to look for elements first [env: ELEMENTS_PATH]."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("name", required=False)
def elements(*, elements_path: str, as_json: bool, name: str | None) -> None:
    """List the elements, or describe one."""
    from builder import catalogue

    universe = catalogue.universe(elements_path)
    if name is None:
        rows = catalogue.rows(universe)
        click.echo(
            json.dumps([dict(zip(("name", "description"), row, strict=True)) for row in rows], indent=1)
            if as_json
            else catalogue.listing(rows)
        )
    else:
        found = catalogue.describe(name, universe)
        click.echo(json.dumps(found, indent=1) if as_json else catalogue.page(found))


@cli.group()
def cache() -> None:
    """Look at the store of layers and packages, and clean it."""


def _ask_cache(options: dict[str, Any], **arguments: str) -> Any:
    from builder.build import cache as ask

    return ask(_conversation(None, options, quiet=True), arguments)


@cache.command()
@_engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def du(*, as_json: bool, **options: Any) -> None:
    """How much is kept, by kind."""
    from builder.progress import size, table

    data = _ask_cache(options, action="du")
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    rows = [[kind, size(count)] for kind, count in data["usage"].items()]
    click.echo(
        table(
            [
                *rows,
                ["all", size(sum(data["usage"].values()))],
                ["stages", str(data["stages"])],
                ["free", size(data["free"])],
            ]
        )
    )


@cache.command()
@_engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(*, as_json: bool, **options: Any) -> None:
    """Which stages are kept."""
    from builder.progress import size, table

    data = _ask_cache(options, action="ls")
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    rows = [["key", "stage", "size", "ran for", "made"]]
    for record in data:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"]))
        rows.append([record["key"][:12], record["title"], size(record["bytes"]), f"{record['seconds']:.1f} s", made])
    click.echo(table(rows))


@cache.command()
@_engine_options
@click.option("--older-than", type=float, metavar="DAYS", help="Let go of what was not used for so long.")
@click.option("--max-size", metavar="SIZE", help="Let go of the oldest until the rest fits: 500M, 20G.")
@click.option("--all", "everything", is_flag=True, help="Let go of everything, downloaded packages too.")
def prune(*, older_than: float | None, max_size: str | None, everything: bool, **options: Any) -> None:
    """Remove what is old or left over; without options only what no build can use any more."""
    from builder.progress import size

    arguments = {"action": "prune", "all": "1" if everything else ""}
    if older_than is not None:
        arguments["older_than"] = str(older_than * 86400)
    if max_size is not None:
        arguments["max_bytes"] = str(_bytes(max_size))
    data = _ask_cache(options, **arguments)
    removed = f"{data['records']} stages, {data['layers']} layers and {data['outputs']} outputs"
    click.echo(f"removed {removed}: {size(data['freed'])} freed")


def _bytes(text: str) -> int:
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    number, unit = text.rstrip("KMGTkmgt"), text.lstrip("0123456789.").upper()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError) as error:
        raise UsageError(f"{text!r} is not a size", hint="--max-size 500M, --max-size 20G") from error


@cache.command()
@_engine_options
def verify(**options: Any) -> None:
    """Check that every layer is still what was kept."""
    data = _ask_cache(options, action="verify")
    for sentence in data["wrong"]:
        click.echo(sentence)
    if data["left over"]:
        click.echo(f"{data['left over']} layers are left over: `dib-ctr cache prune` removes them")
    if data["wrong"]:
        raise BuildError(f"{len(data['wrong'])} things are wrong with the store", hint="see above what mends each")
    click.echo("the store is sound")


@cli.command()
@click.argument("names", nargs=-1, metavar="[ENGINE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, names: Sequence[str], as_json: bool) -> None:
    """Try each engine for real, and say what is wrong and what mends it."""
    from dataclasses import asdict

    from builder import doctor as examination

    for name in names:
        if name not in ENGINES[1:]:
            raise UsageError(f"there is no engine {name!r}", hint=f"there is: {', '.join(ENGINES[1:])}")
    report = examination.run(list(names) or list(ENGINES[1:]))
    click.echo(json.dumps(asdict(report), indent=1) if as_json else examination.render(report))
    sys.exit(0 if report.usable else 1)


@cli.command("verify")
@_engine_options
@click.option("--offline", is_flag=True, help="Cut the network; take repositories as they were seen last.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A variable that the provenance does not tell."
)
@click.option(
    "--elements-path", default="", metavar="DIR:DIR", help="Where to look for elements first [env: ELEMENTS_PATH]."
)
@click.option("--arch", default="", help="Which architecture of an image that has several.")
@click.argument("image", type=click.Path(exists=True, path_type=Path))
def verify_image(*, image: Path, arch: str, **options: Any) -> None:
    """Build IMAGE again from scratch, by what its provenance says, and name the first file that differs."""
    from builder.verify import report

    options |= {"progress": "plain", "log": None}
    click.echo(report(image, arch, options, lambda prepared: _conversation(prepared, options, quiet=True)))


@cli.command("size")
@click.option("--by", type=click.Choice(("package", "directory", "layer", "all")), multiple=True, help="What to list.")
@click.option("--depth", type=click.IntRange(0), default=2, show_default=True, help="How many levels of directories.")
@click.option("--top", type=click.IntRange(0), default=20, show_default=True, help="How many lines of each; 0: all.")
@click.option("--arch", default="", help="Which architecture of an image that has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything in it.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path), required=False, metavar="[IMAGE2]")
def image_size(*, image: Path, other: Path | None, depth: int, arch: str, **options: Any) -> None:
    """Show how large IMAGE is by package and by directory; or how IMAGE2 differs from it."""
    from builder.inspection import render
    from builder.inspection.image import open_image
    from builder.inspection.size import measure

    sizes = [measure(opened, depth) for opened in [open_image(path, arch) for path in (image, other) if path]]
    click.echo(render.answer(sizes, options["by"], options["top"], as_json=options["as_json"]))


@cli.command()
@click.option(
    "--firmware", type=click.Choice(("bios", "uefi", "both")), help="How it starts [default: bios where there is one]."
)
@click.option(
    "--expect", default="", metavar="REGEX", help="Wait for a line of the console with this, not for the login prompt."
)
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
@click.option("--arch", default="", help="The machine's architecture [default: this machine's].")
@click.option("--memory", type=click.IntRange(64), default=1024, show_default=True, metavar="MB")
@click.option("--cpus", type=click.IntRange(1), default=1, show_default=True)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Write the console's text here.")
@click.option("--interactive", is_flag=True, help="Give the machine this terminal; Ctrl-A X ends it.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", type=click.Path(path_type=Path))
def boot(*, firmware: str | None, expect: str, arch: str, interactive: bool, debug: bool, **options: Any) -> None:
    """Start a machine from a disk image and see whether it comes up; the image stays as it is.

    It has come up when it shows its login prompt, or what else is waited for. The console is shown as it speaks.
    """
    import re

    from builder.engines import memory
    from qemu.architecture import canonical, native
    from qemu.boot import Request, interact
    from qemu.boot import boot as run

    try:
        expected = re.compile(expect) if expect else None
    except re.error as error:
        raise UsageError(f"--expect is no regular expression: {error}", where=expect) from error
    request = Request(arch=canonical(arch or native()) or arch, firmware=firmware or "", expect=expected, **options)
    if interactive:
        if not sys.stdin.isatty():
            raise UsageError("--interactive needs a terminal", hint="leave it out, or run it on a terminal")
        sys.exit(interact(request, memory))
    for success in run(request, lambda text: click.echo(text, nl=False), memory):
        click.echo(str(success))


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 failed, 2 bad usage, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as tidily as after Ctrl-C
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup stays in force
            signal.signal(number, _terminated)
    try:
        return _run(arguments, debug="--debug" in arguments)
    except BrokenPipeError:  # who read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        cli.main(args=arguments, prog_name="dib-ctr", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        _note("interrupted: nothing half-made was left")
        return INTERRUPTED
    except BuildError as error:
        if debug:
            import traceback

            traceback.print_exc()
        _note(f"error: {error}")
        return error.exit_status
    except BrokenPipeError:
        raise
    except Exception as error:
        from builder.build import FailedError

        if isinstance(error, FailedError):
            return error.status
        if debug:
            raise
        _note(f"error: dib-ctr itself stumbled over {type(error).__name__}: {error}\n  next:  run again with --debug")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
