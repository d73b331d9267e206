"""Lock files on the host: read and compared with the request before anything runs, written after a good build.

A lock file says what was asked, and for each architecture what was used (``stages.protocol.lock_record``). Beside it
may lie the package lists and packages themselves (``--vendor``)::

    lock.json
    lists/<SHA-256 of the signed index>/InRelease, <list>.gz
    packages/<NAME>_<VERSION>_<ARCHITECTURE>.deb
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blockdev.core.atomic_file import write_file
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.open_beneath import open_beneath
from builder import destination
from builder.request.options import LockOptions
from builder.request.redact import redaction_of
from stages.element.environment import SERVICES
from stages.layers.package_lists import CHUNK, INDEX, saved_name
from stages.protocol.lock_record import Used
from stages.protocol.locking import Locking
from stages.protocol.request import Request
from stages.redaction.patterns import without_credentials
from stages.repositories.apt_lists import hashes

VERSION = 1
LARGEST_INDEX = 64 << 20  # bytes
FILE = "lock.json"  # in a folder of --vendor
FIELDS = {"version", "dib_ctr", "elements", "packages", "variables", "architectures"}


@dataclass(frozen=True)
class LockFile:
    """A lock file's content: what was asked, and what was used, by architecture.

    The values of variables that look like secrets are not told, and not compared.
    """

    elements: tuple[str, ...]
    packages: tuple[str, ...]
    variables: Mapping[str, str]
    used: Mapping[str, Used]
    dib_ctr: str

    @classmethod
    def of(cls, request: Request, used: Mapping[str, Used]) -> LockFile:
        """The lock of builds of one request that used all this."""
        from importlib import metadata

        redaction = redaction_of(request)
        asked = {
            name: redaction.shown(value, name)
            for name, value in request.variables.items()
            if name not in SERVICES and not name.startswith("DIB_CTR_")
        }
        elements, packages = tuple(sorted({*request.asked})), tuple(sorted({*request.packages}))
        return cls(elements, packages, asked, used, metadata.version("dib-ctr"))

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "version": VERSION,
            "dib_ctr": self.dib_ctr,
            "elements": list(self.elements),
            "packages": list(self.packages),
            "variables": dict(self.variables),
            "architectures": {arch: used.to_json() for arch, used in self.used.items()},
        }

    def text(self) -> str:
        """The file's content: the same for the same lock, and a line for each thing, for diff's sake."""
        return json.dumps(self.to_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


# -- reading and comparing ------------------------------------------------------------------------------------------


def read(path: Path) -> LockFile:
    """Read a lock file; raises UsageError for one that cannot be read, is malformed or of a later version."""
    hint = "make a new one with --lock FILE, or restore the old one"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the lock cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    except ValueError as error:
        raise UsageError(f"the lock is no JSON: {error}", where=str(path), hint=hint) from error
    if not isinstance(data, dict) or type(data.get("version")) is not int:
        raise UsageError("this is no lock file", where=str(path), hint=hint)
    if data["version"] != VERSION:
        raise UsageError(
            f"the lock has version {data['version']}, this dib-ctr reads version {VERSION}",
            where=str(path),
            hint="use the dib-ctr that made it, or a later one",
        )
    try:
        return _parse(data)
    except ValueError as error:
        raise UsageError(f"the lock is malformed: {error}", where=str(path), hint=hint) from error


def _parse(data: Mapping[str, Any]) -> LockFile:
    if set(data) != FIELDS:
        raise ValueError(f"its fields are not {', '.join(sorted(FIELDS))}")
    for name, kind in (("elements", list), ("packages", list), ("variables", dict), ("architectures", dict)):
        if not isinstance(data[name], kind):
            raise ValueError(f"{name} has the wrong type")
    texts = [*data["elements"], *data["packages"], *data["variables"].values(), data["dib_ctr"]]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name or a value is no text")
    used = {arch: Used.from_json(part) for arch, part in data["architectures"].items()}
    return LockFile(tuple(data["elements"]), tuple(data["packages"]), data["variables"], used, data["dib_ctr"])


def differences(lock: LockFile, asked: LockFile) -> list[str]:
    """Where a request differs from the one that the lock was made for, a phrase each."""
    phrases = []
    for what, locked, names in (
        ("element", lock.elements, asked.elements),
        ("package", lock.packages, asked.packages),
    ):
        phrases += [f"the {what} {name} is asked for now" for name in names if name not in locked]
        phrases += [f"the {what} {name} is not asked for now" for name in locked if name not in names]
    for name in sorted({*lock.variables, *asked.variables}):
        before, now = lock.variables.get(name), asked.variables.get(name)
        if before != now:
            phrases.append(f"{name} {_was(before, now)}")
    return phrases


def _was(before: str | None, now: str | None) -> str:
    if now is None:
        return f"is not set, and was {before!r}"
    return f"is {now!r}, and was not set" if before is None else f"is {now!r}, and was {before!r}"


def with_locks(request: Request, options: LockOptions, environment: Mapping[str, str]) -> Request:
    """The request with what the user asked of locks; raises UsageError for what cannot be, before anything runs."""
    for target in (options.lock, options.vendor and options.vendor / FILE):
        if target is not None:
            _check_target(target)
    locking = Locking(report=bool(options.lock or options.vendor), vendor=options.vendor is not None)
    if options.vendor is not None:
        locking = locking.replace(held=contents(options.vendor))
    if options.snapshot:
        from stages.repositories import snapshot

        locking = locking.replace(snapshot=snapshot.timestamp(options.snapshot))
    locking = locking.replace(scheme=_scheme(environment))
    if options.locked is None:
        return replace(request, locking=locking)
    return _locked(request, locking, options.locked)


def _scheme(environment: Mapping[str, str]) -> str:
    from stages.repositories import snapshot

    setting = environment.get(snapshot.VARIABLE, "")
    return snapshot.check_scheme(setting) if setting else ""


def _locked(request: Request, locking: Locking, path: Path) -> Request:
    lock = read(path)
    phrases = differences(lock, LockFile.of(request, {}))
    if request.arch not in lock.used:
        phrases.append(f"the architecture is {request.arch}, and was {', '.join(lock.used) or 'none'}")
    if phrases:
        raise UsageError(
            "the request is not the one that was locked:\n" + "\n".join(f"  {phrase}" for phrase in phrases),
            where=str(path),
            hint="ask for what was locked, or make a new lock with --lock FILE",
        )
    used = lock.used[request.arch]
    mirrors = {name: value for name, value in request.variables.items() if not name.startswith("DIB_CTR_")}
    mirrors |= {name: request.variables[name] for name in ("DIB_CTR_APT_OPTIONS",) if name in request.variables}
    locking = locking.replace(locked=used.to_json(), offered=offered(path.parent, used))
    return replace(request, variables={**mirrors, **_with_credentials(used.mirrors, request)}, locking=locking)


def _with_credentials(mirrors: Mapping[str, str], request: Request) -> dict[str, str]:
    """The lock's mirrors, with user and password where this machine's are the same but for these: a lock has none."""
    own = {without_credentials(value): value for name, value in request.variables.items() if name in mirrors}
    return {name: own.get(address, address) for name, address in mirrors.items()}


# -- the files beside a lock ----------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of each list and package in the folder of a lock, by path; a packed one's is of its content."""
    files = [*folder.glob("lists/*/*"), *folder.glob("packages/*.deb")]
    paths = [file.relative_to(folder).as_posix() for file in sorted(files) if file.is_file()]
    return {path: _digest(folder, path) for path in paths}


def _digest(folder: Path, path: str) -> str:
    """The SHA-256 of a file's content, unpacked; empty for one that cannot be read, or lies behind a link."""
    digest = hashlib.sha256()
    try:
        with os.fdopen(open_beneath(folder, path), "rb") as file:
            data = gzip.GzipFile(fileobj=file) if path.endswith(".gz") else file
            while piece := data.read(CHUNK):
                digest.update(piece)
    except (OSError, EOFError, zlib.error):
        return ""
    return digest.hexdigest()


def offered(folder: Path, used: Used) -> dict[str, str]:
    """The files beside a lock that it names; raises UsageError for one that is not what the lock says."""
    indices = [f"lists/{repository.digest}/{INDEX}" for repository in used.repositories]
    digests = _files_named(used, {index: hashes(_content(folder, index)) for index in indices})
    here = {path: digest for path, digest in digests.items() if os.path.lexists(folder / path)}
    for path, digest in here.items():
        if _digest(folder, path) != digest:
            hint = "restore the file, or remove it to do without"
            raise UsageError(f"{folder / path} is not what the lock says", hint=hint)
    return here


def _files_named(used: Used, listed: Mapping[str, Mapping[str, tuple[str, int]]]) -> dict[str, str]:
    """The files beside a lock that it names, with their SHA-256.

    That of a package list is known by its index, which ``listed`` has by its path; else it is empty.
    """
    digests = {f"packages/{package.cached}": package.sha256 for package in used.packages if package.sha256}
    for repository in used.repositories:
        index = f"lists/{repository.digest}/{INDEX}"
        digests[index] = repository.digest
        for path in repository.lists:
            saved = f"lists/{repository.digest}/{saved_name(path)}.gz"
            digests[saved] = listed.get(index, {}).get(path, ("", 0))[0]
    return digests


def _content(folder: Path, path: str) -> bytes:
    """A signed index; empty where it is not there."""
    try:
        with os.fdopen(open_beneath(folder, path), "rb") as file:
            return file.read(LARGEST_INDEX)
    except OSError:
        return b""


# -- writing --------------------------------------------------------------------------------------------------------


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise UsageError(f"{target} is a folder: no lock can be written there", hint="--lock FILE, or --vendor DIR")
    destination.check_folder_of(target, "--lock FILE, or --vendor DIR")


def _vendor(stream: Iterable[bytes], folder: Path, paths: Collection[str]) -> None:
    """Put the files that a lock names into its folder; another one of that name gives way where a lock lies."""
    kept = destination.memory()
    destination.sweep(folder.absolute())
    with destination.partial(folder.absolute() / FILE) as partial:
        brought = destination.bring_side_files(stream, partial, folder)
        for parts in brought.files:
            if "/".join(parts) not in paths:
                raise BuildError(f"the build container sent {'/'.join(parts)!r}, which the lock does not name")
        files = brought.left_to_do(kept, replace=(folder / FILE).is_file())
        kept.announce(files.coming)
        files.appear()
        kept.remember_all(files.coming, {})


def keep(
    options: LockOptions, request: Request, used: Mapping[str, Any], vendored: Sequence[Iterable[bytes]]
) -> list[str]:
    """Write the lock of a build that has succeeded, and beside it what it used; returns lines that say where.

    ``used`` has what was used by architecture, as the build containers said it, ``vendored`` folders of files as tars.
    Files appear when they are whole, the lock last. Raises BuildError where they cannot be written.
    """
    lock = LockFile.of(request, {arch: Used.from_json(part) for arch, part in used.items()})
    lines = []
    try:
        if options.vendor is not None:
            options.vendor.mkdir(parents=True, exist_ok=True)
            paths = {path for each in lock.used.values() for path in _files_named(each, {})}
            for stream in vendored:
                _vendor(stream, options.vendor, paths)
            write_file(options.vendor / FILE, lock.text())
            lines.append(f"vendor: {options.vendor}")
        if options.lock is not None:
            options.lock.parent.mkdir(parents=True, exist_ok=True)
            write_file(options.lock, lock.text())
            lines.append(f"lock: {options.lock}")
    except OSError as error:
        raise BuildError(f"the lock cannot be written: {error.strerror}", where=str(error.filename)) from error
    return lines
