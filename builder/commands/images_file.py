"""Commands over images files: what ``build -f`` and ``plan -f`` do, and matrix."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from blockdev.core.errors import BuildError, UsageError
from builder.commands.options import exchange_of, note, open_session
from stages.protocol.request import DISK_TYPES

if TYPE_CHECKING:
    from builder.fleet.image import ImageBuild, PlannedBuild
    from builder.fleet.outcome import Outcome
    from builder.fleet.run import Runner
    from builder.request.prepared_build import PreparedBuild
    from stages.protocol.emit import Event

Command = Callable[..., Any]

# What can be said of all images of a file at once; all else stands in the file.
_FOR_ALL = {
    *("files", "elements", "engine", "host", "store", "debug", "offline", "no_cache", "settings", "elements_path"),
    *("destination", "progress", "insecure", "authfile", "sign", "sign_key", "reference", "as_json"),
    *("cache_from", "cache_to", "replace"),
    *("jobs", "keep_going", "report", "junit", "logs", "whole"),
}
_FOR_FILES = ("jobs", "keep_going", "logs", "whole")
KEPT_FOLDERS = 20  # of logs


def file_options(command: Command) -> Command:
    """The option that names images files."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="An images file (repeatable): docs/many-images.md says what is in it.",
    )(command)


def build_options(command: Command) -> Command:
    """The options of ``build -f``."""
    path = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="-f: the folder for the logs."),
        click.option("--junit", type=path, metavar="FILE", help="Write a JUnit report here."),
        click.option("--report", type=path, metavar="FILE", help="Write a JSON report here."),
        click.option("--keep-going", is_flag=True, help="-f: begin further images after one has failed."),
        click.option(
            "--jobs", type=click.IntRange(min=1), help="-f: how many images at a time [default: processors, memory]."
        ),
    ):
        command = option(command)
    return command


def plan_options(command: Command) -> Command:
    """The options of ``plan -f``."""
    return click.option("--stages", "whole", is_flag=True, help="-f: a line for every stage.")(command)


def asked(options: Mapping[str, Any]) -> bool:
    """Is it about images files; UsageError for options that go with the other way alone."""
    context = click.get_current_context()
    parameters = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    given = {
        name: flag
        for name, flag in parameters.items()
        if name and context.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }
    if not options["files"]:
        for name in _FOR_FILES:
            if name in given:
                raise UsageError(f"{given[name]} is for images files", hint="name one: -f images.yaml")
        return False
    for name, flag in given.items():
        if name not in _FOR_ALL:
            raise UsageError(f"{flag} does not go with -f: it is said of each image in the file", where=flag)
    return True


def planned_of(options: Mapping[str, Any]) -> list[PlannedBuild]:
    """The images that are asked for, checked."""
    from builder.frontends.images_file.load import checked

    return checked(images_of(options))


def images_of(options: Mapping[str, Any]) -> list[ImageBuild]:
    """The images that are asked for, as their files have them."""
    from builder.frontends.images_file.image import chosen
    from builder.frontends.images_file.load import load

    path = options.get("elements_path") or os.environ.get("ELEMENTS_PATH", "")
    found = chosen(load(options["files"], options.get("destination", Path()), path), options["elements"])
    found = [_as_told(image, options) for image in found]
    return [pushed_below(image, options["reference"]) for image in found] if options.get("reference") else found


def _as_told(image: ImageBuild, options: Mapping[str, Any]) -> ImageBuild:
    """The image with what the command line says of all images, which goes before what the file says."""
    settings, offline = options.get("settings", ()), bool(options.get("offline"))
    if image.command == "build":
        words = [word for setting in settings for word in ("--set", setting)]
        words += [word for cache in options.get("cache_from", ()) for word in ("--cache-from", cache)]
        words += ["--offline"] if offline else []
        words += ["--no-cache"] if options.get("no_cache") else []
        words += ["--replace"] if options.get("replace") else []
        more = [word for cache in options.get("cache_to", ()) for word in ("--cache-to", cache)]
        return replace(image, arguments=(*image.arguments, *words), more=(*image.more, *more))
    for name in ("no_cache", "cache_from", "cache_to"):
        if options.get(name):
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} does not go with a file of diskimage-builder's form", where=image.where)
    more_environment = dict(setting.partition("=")[::2] for setting in settings)
    if options.get("store"):
        more_environment["DIB_CTR_STORE"] = options["store"]
    if options.get("engine", "auto") != "auto":
        more_environment["DIB_CTR_ENGINE"] = options["engine"]
    if offline:
        more_environment["DIB_OFFLINE"] = "1"
    return replace(image, environment={**image.environment, **more_environment})


def pushed_below(image: ImageBuild, place: str) -> ImageBuild:
    """The image pushed below ``place`` (HOST/NAME/), where it has an output that can be and names no place itself."""
    from builder.frontends.images_file.load import is_pushable

    if not place.endswith("/"):
        raise UsageError(f"--push {place} is one place for many images", hint="--push HOST/NAME/, with a / at the end")
    if image.command != "build" or image.push or not is_pushable(image):
        return image
    reference = f"{place}{image.name.lower()}:latest"
    return replace(image, push=reference, more=(*image.more, "--push", reference))


def _words(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The options that every image's build gets: where it runs, and how it pushes."""
    words: list[str] = []
    for name in ("host", "store", "authfile", "sign_key"):
        if options.get(name):
            words += ["--" + name.replace("_", "-"), str(options[name])]
    if options["engine"] != "auto":
        words += ["--engine", options["engine"]]
    for name in ("debug", "insecure", "sign"):
        if options.get(name):
            words.append("--" + name.replace("_", "-"))
    return tuple(words)


# -- build -----------------------------------------------------------------------------------------


def build_images(options: Mapping[str, Any]) -> None:
    """Build the images of files; BuildError (status 1) where any failed, after the reports are written."""
    from builder.fleet.run import Runner, Way
    from builder.fleet.schedule import limits
    from builder.fleet.view import view_of

    planned = planned_of(options)
    _check_pushes(planned, options)
    _make_build_images(planned, options)
    logs = options["logs"] or _log_folder()
    logs.mkdir(parents=True, exist_ok=True)
    way = Way(limits(options["jobs"]), _words(options), logs.absolute(), options["keep_going"])
    runner = Runner(way, view_of(options["progress"], len(planned)))
    run_images(runner, [one.image for one in planned], options)


def run_images(runner: Runner, images: Sequence[ImageBuild], options: Mapping[str, Any]) -> None:
    """Build, write the reports that are asked for, say what became of all; BuildError where any failed."""
    from builder.fleet.outcome import FAILED
    from builder.fleet.view import summary

    started = time.monotonic()
    try:
        outcomes = runner.run(images)
    finally:
        write_reports(list(runner.outcomes.values()), time.monotonic() - started, options)
    note(summary(outcomes, time.monotonic() - started))
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    if failed:
        names = ", ".join(outcome.image.name for outcome in failed)
        hint = next((f"the log: {outcome.log}" for outcome in failed if outcome.log), "")
        raise BuildError(f"{len(failed)} of {len(outcomes)} images failed: {names}", hint=hint)


def write_reports(outcomes: Sequence[Outcome], seconds: float, options: Mapping[str, Any]) -> None:
    """Write the reports that the options name."""
    from builder.fleet import report

    if options.get("report"):
        put(options["report"], json.dumps(report.as_json(outcomes, seconds), indent=1).encode() + b"\n")
    if options.get("junit"):
        put(options["junit"], report.as_junit(outcomes, seconds))


def put(file: Path, data: bytes) -> None:
    """Write a file whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(file)


def _check_pushes(planned: Sequence[PlannedBuild], options: Mapping[str, Any]) -> None:
    """Ask every registry for leave before anything is built."""
    from builder.registry.push import Pushing, parse_reference

    for one in planned:
        if one.image.push:
            Pushing(
                parse_reference(one.image.push),
                options["insecure"],
                options["authfile"],
                options["sign"],
                options["sign_key"],
                note,
            ).check()


def _make_build_images(planned: Sequence[PlannedBuild], options: Mapping[str, Any]) -> None:
    """Make the build images that are missing once, not once in every build."""
    from builder import engines
    from builder.build_image import ensure
    from qemu.architecture import native, runs

    if options["store"]:
        os.environ["DIB_CTR_STORE"] = options["store"]
    engine = engines.select(options["engine"], options["host"])
    purposes = set()
    for prepared in (request for one in planned for request in one.requests):
        foreign = not runs(native(), prepared.request.arch)
        purposes.add(ensure.purpose_of(prepared.build_image, foreign=foreign))
        if any(output.type in DISK_TYPES for output in prepared.request.outputs):
            purposes.add(ensure.DISK)
    exchange = exchange_of({name: options.get(name, ()) for name in ("cache_from", "offline")})
    if exchange and engine.name != "host":
        exchange.begin()
    for purpose in sorted(purposes):
        ensure.ensure(engine, purpose, note, exchange.images.bring if exchange else None)


def _log_folder() -> Path:
    """A new folder for the logs of one request; the newest ones are kept."""
    import shutil

    from builder.host_state.probe_results import cache_folder

    folder = cache_folder() / "logs" / f"images-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.parent.glob("images-*"), key=lambda one: one.name)[:-KEPT_FOLDERS]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def reported(options: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What a build without a file is run in: it writes the reports that are asked for, whatever becomes of it."""
    if not options["report"] and not options["junit"]:
        return nullcontext()
    from builder.fleet.image import ImageBuild
    from builder.fleet.single_report import reported

    arches = tuple(options["arch"].split(",")) if options["arch"] else ()
    image = ImageBuild(options["name"], "", "", elements=options["elements"], arches=arches)
    return reported(image, lambda outcome, seconds: write_reports([outcome], seconds, options))


# -- plan ------------------------------------------------------------------------------------------


def plan_images(options: Mapping[str, Any], *, as_json: bool) -> None:
    """Show the stages of many images: which they share, and which are in the cache."""
    from builder.fleet import shared_stages

    planned = planned_of(options)
    _make_build_images(planned, options)
    plans = plans_of({name: one for image in planned for name, one in image.by_name().items()}, options)
    if as_json:
        click.echo(json.dumps(shared_stages.as_json(plans), indent=1))
    else:
        click.echo(shared_stages.as_text(plans, whole=options["whole"]))


def plans_of(requests: Mapping[str, PreparedBuild], options: Mapping[str, Any]) -> dict[str, list[Event]]:
    """The plans of requests by name, asked side by side."""
    from builder.build.run import plan
    from builder.fleet.schedule import limits

    def ask(prepared: PreparedBuild) -> list[Event]:
        return plan(prepared, open_session(prepared, dict(options), quiet=True))

    with ThreadPoolExecutor(limits(None).cpus) as pool:
        return dict(zip(requests, pool.map(ask, requests.values()), strict=True))
