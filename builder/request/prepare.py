"""From what the user asked for to a request: parsed, checked and resolved before anything runs.

A row of steps, each with a value: options, variables, base and elements, outputs, request, disk, files, lock.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.errors import UsageError
from builder.destination import check_targets, is_files, side_folder_of, target_of
from builder.request import image_names
from builder.request.base import BASE_ELEMENT, base_of, check_locked_base, with_base
from builder.request.choices import parse_arch
from builder.request.elements import image_config, resolve_elements
from builder.request.host_files import file_digest, given_files, is_large
from builder.request.options import NAME, BuildOptions, DiskOptions, LockOptions
from builder.request.outputs import is_for_disk, parse_output, policies
from builder.request.prepared_build import PreparedBuild
from builder.request.redact import check_names, secrets_of
from builder.request.releases import check as releases
from builder.request.releases.support import ended
from builder.request.substitutes import CONTAINERFILE
from builder.request.unread_variables import remarks as unread
from builder.request.variables import mirrors, variables
from stages.element.resolve import BUILTIN, Resolution
from stages.plan.breakpoints import WANTED, is_point
from stages.protocol.request import Output, Request

if TYPE_CHECKING:
    from builder.base_image.fetch import Base
    from builder.request.disk import Disk

PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.:_~=@/-]*\Z")


def _packages(options: Iterable[str]) -> tuple[str, ...]:
    names = [name for word in options for name in word.replace(",", " ").split()]
    for name in names:
        if not PACKAGE.match(name):
            raise UsageError(f"{name!r} is not a package's name", hint="-p NAME, or -p NAME,NAME")
    return tuple(dict.fromkeys(names))


def _breaks(points: Iterable[str]) -> tuple[str, ...]:
    for point in points:
        if not is_point(point):
            raise UsageError(f"--break {point!r} is no point to stop at", hint=WANTED)
    return tuple(points)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Selection:
    """What is built: the image that it begins with, if any, the elements, and the outputs that these leave.

    ``options`` are those of the user with the elements that the base brings; ``name`` is the image's.
    """

    options: BuildOptions
    base: Base | None
    found: Resolution
    outputs: Sequence[Output]
    name: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Outputs:
    """What is written where (in the same order), and the texts of the policies that outputs follow, by their names."""

    outputs: tuple[Output, ...]
    targets: tuple[Path, ...]
    policies: Mapping[str, str]


def prepare(
    command: str,
    options: BuildOptions,
    environment: Mapping[str, str],
    on_note: Callable[[str], None] = _tell,
) -> PreparedBuild:
    """Check everything that can be checked before a container runs; raises UsageError.

    ``environment`` is the caller's. ``on_note`` hears at once what takes a while: fetching or building the image that
    the build begins with.
    """
    parsed = [parse_output(text) for text in options.outputs if not is_files(text)]
    secrets = check_names(options.secrets)
    settings = variables(options.settings, options.release, environment, mirrors(environment), secrets)
    selection = _select(options, parsed, settings, environment, on_note)
    planned = _plan_outputs(selection)
    request = _request(command, selection, planned, settings)
    disk = _disk_of(selection, request, environment)
    request = replace(request, disk=disk.data) if disk else request
    files, notes = given_files(request.variables, Path(environment.get("HOME", "/nonexistent")))
    request = _with_files(request, files, secrets, selection.found, environment)
    request = _with_locks(request, options, environment)
    large = {request.given[path]: file for path, file in files.items() if is_large(file.stat().st_size)}
    base = selection.base
    if base:
        request = with_base(request, base)
        check_locked_base(request)
    return PreparedBuild(
        request=request,
        elements=selection.found.elements,
        targets=planned.targets,
        locks=options.locks,
        passphrases=disk.passphrases if disk else {},
        given={path: file for path, file in files.items() if file not in large.values()},
        notes=(*selection.notes, *(disk.notes if disk else ()), *notes, *unread(settings, selection.found.elements)),
        files=any(is_files(text) for text in options.outputs),
        build_image=selection.found.build_image,
        large={**large, **({base.content: base.archive} if base else {})},
        replace=options.replace,
        side_folder=side_folder_of(options.outputs),
    )


def _select(
    options: BuildOptions,
    outputs: Sequence[Output],
    settings: Mapping[str, str],
    environment: Mapping[str, str],
    on_note: Callable[[str], None],
) -> _Selection:
    """The base that is named, then the elements; where one of these brings a base, the elements once more with it."""
    base = base_of(options, None, settings, on_note)
    name = options.name or (base.title if base else "")
    if base:
        options = _and(options, BASE_ELEMENT, base.facts.manager)
    resolution, left, notes = resolve_elements(options, environment, outputs)
    about_release = releases.about(resolution.elements, settings, parse_arch(options.arch))
    if base is None and (base := base_of(options, resolution, settings, on_note)):
        name = name or next((each.name for each in resolution.elements if CONTAINERFILE in each.deps), CONTAINERFILE)
        options = _and(options, BASE_ELEMENT, base.facts.manager)
        resolution, left, notes = resolve_elements(options, environment, outputs)
    if base and not about_release:
        about_release = ended(base.facts.distribution, base.facts.release, releases.today(settings))
    name = name or resolution.operating_system.name
    if not NAME.match(name):
        raise UsageError(f"{name!r} cannot be an image's name", hint="letters, digits, '.', '_' and '-'")
    return _Selection(options, base, resolution, left, name, (*notes, *about_release))


def _and(options: BuildOptions, *elements: str) -> BuildOptions:
    return replace(options, elements=tuple(dict.fromkeys((*options.elements, *filter(None, elements)))))


def _plan_outputs(selection: _Selection) -> _Outputs:
    """Policies, documents and places of the outputs; UsageError where one cannot be written."""
    options = selection.options
    outputs, texts = policies(selection.outputs, options.slim)
    if options.no_documents:
        outputs = tuple(replace(output, options={**output.options, "documents": "no"}) for output in outputs)
    image_names.check(outputs, selection.name, load=options.load)
    targets = tuple(target_of(output, selection.name, options.destination) for output in outputs)
    check_targets(outputs, targets, replace=options.replace)
    return _Outputs(outputs, targets, texts)


def _request(command: str, selection: _Selection, planned: _Outputs, settings: Mapping[str, str]) -> Request:
    """The request, as far as options, elements and outputs say it."""
    options, elements = selection.options, selection.found.elements
    return Request(
        command=command,
        name=selection.name,
        arch=parse_arch(options.arch),
        asked=options.elements,
        elements=selection.found.names,
        builtin=tuple(element.name for element in elements if element.path.is_relative_to(BUILTIN)),
        variables=settings,
        packages=_packages(options.packages),
        outputs=planned.outputs,
        no_cache=options.no_cache,
        offline=options.offline,
        breaks=_breaks(options.breaks),
        break_command=options.break_command,
        break_outside=options.break_outside,
        break_folders=_break_folders(options.break_command),
        config=image_config(elements),
        slim=planned.policies,
    )


def _break_folders(command: str) -> tuple[str, ...]:
    if not command:
        return ()
    from builder.request.break_folders import folders

    return folders(command)


def _disk_of(selection: _Selection, request: Request, environment: Mapping[str, str]) -> Disk | None:
    """What the request says of a disk, where its elements or outputs speak of any."""
    asked, elements = selection.options.disk, selection.found.elements
    speaks = is_for_disk(request.outputs) or "DIB_BLOCK_DEVICE_CONFIG" in request.variables or asked != DiskOptions()
    if not speaks and not any("block-device" in element.provides for element in elements):
        return None
    from builder.request import disk  # only now: it reads YAML, whose library takes its time to load

    return disk.describe(request.name, request.arch, elements, request.variables, asked, request.outputs, environment)


def _with_files(
    request: Request,
    files: Mapping[str, Path],
    secrets: Sequence[str],
    resolution: Resolution,
    environment: Mapping[str, str],
) -> Request:
    """The request with the machine's files that scripts may see, and what of all this is secret."""
    return replace(
        request,
        given={path: file_digest(file) for path, file in sorted(files.items())},
        secrets=secrets_of(secrets, resolution.elements, request.variables, files, environment),
    )


def _with_locks(request: Request, options: BuildOptions, environment: Mapping[str, str]) -> Request:
    """The request with what locks and a snapshot say of it."""
    if options.locks == LockOptions():
        return request
    from builder.request.lock_file import with_locks

    return with_locks(request, options.locks, environment)
