"""Commands over images files: what ``build -f`` and ``plan -f`` do, and matrix."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from blockdev.core.errors import BuildError, UsageError
from builder.commands.options import exchange_of, note, open_session, set_store
from builder.host_state.environment import of_caller
from builder.request.option_table import BY_NAME
from builder.request.option_table.option import Here
from stages.protocol.request import DISK_TYPES

if TYPE_CHECKING:
    from builder.fleet.image import ImageBuild, PlannedBuild
    from builder.fleet.outcome import Outcome
    from builder.fleet.run import Runner
    from builder.request.options import BuildOptions, PushOptions, ReportOptions
    from builder.request.prepared_build import PreparedBuild
    from stages.protocol.events import PlannedStage

KEPT_FOLDERS = 20  # of logs


def asked(options: BuildOptions) -> bool:
    """Is it about images files; UsageError for options that go with the other way alone."""
    context = click.get_current_context()
    flags = [
        BY_NAME[parameter.name]
        for parameter in context.command.params
        if parameter.name in BY_NAME and context.get_parameter_source(parameter.name) == ParameterSource.COMMANDLINE
    ]
    for option in flags:
        flag = option.flags[0]
        if option.only_beside_file and not options.files:
            raise UsageError(f"{flag} is for images files", hint="name one: -f images.yaml")
        if options.files and not isinstance(option.doors.beside_file, Here):
            raise UsageError(f"{flag} does not go with -f: it is said of each image in the file", where=flag)
    return bool(options.files)


def planned_of(options: BuildOptions) -> list[PlannedBuild]:
    """The images that are asked for, checked."""
    from builder.frontends.images_file.load import checked

    return checked(images_of(options), of_caller())


def images_of(options: BuildOptions) -> list[ImageBuild]:
    """The images that are asked for, as their files have them."""
    from builder.frontends.images_file.image import chosen
    from builder.frontends.images_file.load import load

    folders = options.elements_path or of_caller().get("ELEMENTS_PATH", "")
    images = chosen(load(options.files, options.destination, folders), options.elements)
    images = [_as_told(image, options) for image in images]
    return [pushed_below(image, options.push.reference) for image in images] if options.push.reference else images


def _as_told(image: ImageBuild, options: BuildOptions) -> ImageBuild:
    """The image with what the command line says of all images, which goes before what the file says."""
    if image.command == "build":
        own = image.options
        both = replace(
            own,
            settings=(*own.settings, *options.settings),
            cache_from=(*own.cache_from, *options.cache_from),
            cache_to=(*own.cache_to, *options.cache_to),
            offline=own.offline or options.offline,
            no_cache=own.no_cache or options.no_cache,
            replace=own.replace or options.replace,
        )
        return replace(image, options=both)
    for name in ("no_cache", "cache_from", "cache_to"):
        if getattr(options, name):
            flag = BY_NAME[name].long
            raise UsageError(f"{flag} does not go with a file of diskimage-builder's form", where=image.where)
    more_environment = dict(setting.partition("=")[::2] for setting in options.settings)
    if options.engine.store:
        more_environment["DIB_CTR_STORE"] = options.engine.store
    if options.engine.engine != "auto":
        more_environment["DIB_CTR_ENGINE"] = options.engine.engine
    if options.offline:
        more_environment["DIB_OFFLINE"] = "1"
    return replace(image, environment={**image.environment, **more_environment})


def pushed_below(image: ImageBuild, prefix: str) -> ImageBuild:
    """The image pushed below ``prefix`` (HOST/NAME/), where it has an output that can be and names no place itself."""
    from builder.frontends.images_file.load import is_pushable

    if not prefix.endswith("/"):
        raise UsageError(f"--push {prefix} is one place for many images", hint="--push HOST/NAME/, with a / at the end")
    if image.command != "build" or image.push or not is_pushable(image):
        return image
    push = replace(image.options.push, reference=f"{prefix}{image.name.lower()}:latest")
    return replace(image, options=replace(image.options, push=push))


# -- build -----------------------------------------------------------------------------------------


def build_images(options: BuildOptions) -> None:
    """Build the images of files; BuildError (status 1) where any failed, after the reports are written."""
    from builder.fleet.run import Runner, RunOptions
    from builder.fleet.schedule import limits
    from builder.fleet.view import view_of

    planned = planned_of(options)
    _check_pushes(planned, options.push)
    _make_build_images(planned, options)
    logs = options.shown.logs or _log_folder()
    logs.mkdir(parents=True, exist_ok=True)
    way = RunOptions(limits(options.jobs), options.engine, options.push, logs.absolute(), options.keep_going)
    runner = Runner(way, view_of(options.shown.progress, len(planned)))
    run_images(runner, [build.image for build in planned], options.shown)


def run_images(runner: Runner, images: Sequence[ImageBuild], shown: ReportOptions) -> None:
    """Build, write the reports that are asked for, say what became of all; BuildError where any failed."""
    from builder.fleet.outcome import FAILED
    from builder.fleet.view import summary

    started = time.monotonic()
    try:
        outcomes = runner.run(images)
    finally:
        write_reports(list(runner.outcomes.values()), time.monotonic() - started, shown)
    if shown.progress != "quiet":
        note(summary(outcomes, time.monotonic() - started))
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    if failed:
        names = ", ".join(outcome.image.name for outcome in failed)
        hint = next((f"the log: {outcome.log}" for outcome in failed if outcome.log), "")
        raise BuildError(f"{len(failed)} of {len(outcomes)} images failed: {names}", hint=hint)


def write_reports(outcomes: Sequence[Outcome], seconds: float, shown: ReportOptions) -> None:
    """Write the reports that the options name."""
    from builder.fleet import report

    for file in shown.report:
        if file.suffix.lower() in (".html", ".htm"):
            from builder.history import record
            from builder.html_report.gather import page
            from builder.html_report.render import html

            put(file, html(page(outcomes, seconds)).encode("utf-8", "replace"))
            record.remember_report(file)
        else:
            put(file, json.dumps(report.as_json(outcomes, seconds), indent=1).encode() + b"\n")
    if shown.junit:
        put(shown.junit, report.as_junit(outcomes, seconds))


def put(file: Path, data: bytes) -> None:
    """Write a file whole; raises BuildError where it cannot be."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.rename(file)
    except OSError as error:
        what = f"{file} cannot be written: {error.strerror}"
        raise BuildError(what, hint="name a file in a folder of yours, on a disk that is not full") from error


def _check_pushes(planned: Sequence[PlannedBuild], push: PushOptions) -> None:
    """Ask every registry for leave before anything is built."""
    from builder.registry.push import Pushing, parse_reference

    for build in planned:
        if build.image.push:
            Pushing(
                parse_reference(build.image.push),
                push.insecure,
                push.authfile,
                push.sign,
                push.sign_key,
                note,
            ).check()


def _make_build_images(planned: Sequence[PlannedBuild], options: BuildOptions) -> None:
    """Make the build images that are missing once, not once in every build."""
    from builder import engines
    from builder.build_image import ensure
    from qemu.architecture import native, runs

    set_store(options)
    engine = engines.select(options.engine.engine, options.engine.host)
    purposes = set()
    for prepared in (request for build in planned for request in build.requests):
        foreign = not runs(native(), prepared.request.arch)
        purposes.add(ensure.purpose_of(prepared.build_image, foreign=foreign))
        if any(output.type in DISK_TYPES for output in prepared.request.outputs):
            purposes.add(ensure.DISK)
    exchange = exchange_of(replace(options, cache_to=()))
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
    for old in sorted(folder.parent.glob("images-*"), key=lambda path: path.name)[:-KEPT_FOLDERS]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def reported(options: BuildOptions) -> AbstractContextManager[None]:
    """What a build without a file is run in: it writes the reports that are asked for, whatever becomes of it."""
    if not options.shown.report and not options.shown.junit:
        return nullcontext()
    from builder.fleet.image import ImageBuild
    from builder.fleet.report import reported

    image = ImageBuild(options.name, "", "", options=options)
    return reported(image, lambda outcome, seconds: write_reports([outcome], seconds, options.shown))


# -- plan ------------------------------------------------------------------------------------------


def plan_images(options: BuildOptions) -> None:
    """Show the stages of many images: which they share, and which are in the cache."""
    from builder.fleet import shared_stages

    planned = planned_of(options)
    _make_build_images(planned, options)
    plans = plans_of({name: prepared for image in planned for name, prepared in image.by_name().items()}, options)
    if options.shown.as_json:
        click.echo(json.dumps(shared_stages.as_json(plans), indent=1))
    else:
        click.echo(shared_stages.as_text(plans, whole=options.shown.whole))


def plans_of(requests: Mapping[str, PreparedBuild], options: BuildOptions) -> dict[str, Sequence[PlannedStage]]:
    """The plans of requests by name, asked side by side."""
    from concurrent.futures import ThreadPoolExecutor

    from builder.build.run import plan
    from builder.fleet.schedule import limits

    def ask(prepared: PreparedBuild) -> Sequence[PlannedStage]:
        return plan(prepared, open_session(prepared, options, quiet=True))

    with ThreadPoolExecutor(limits(None).cpus) as pool:
        return dict(zip(requests, pool.map(ask, requests.values()), strict=True))
