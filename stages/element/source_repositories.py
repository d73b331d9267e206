"""Source repositories: what the lines of elements' ``source-repository-*`` files name, after all overrides.

The grammar is diskimage-builder's: ``NAME TYPE DESTINATION LOCATION [REF]``, where the shell's variables and quotes
count. What these name now is asked by ``stages.repositories.source_state``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from blockdev.core.errors import UsageError
from stages.element.dib_runtime import REPOSITORIES
from stages.element.hooks import HookFile, HooksTree
from stages.element.references import words
from stages.redaction.patterns import without_credentials

KINDS = ("git", "tar", "file", "package")
DEFAULT_REFS = {"git": "master", "tar": "*"}
ALL_REFS = "*"
EVERYTHING_OFF = "NO_SOURCE_REPOSITORIES"
_TOKEN = re.compile(
    r"'(?P<single>[^']*)'"
    r"|\"(?P<double>[^\"`]*)\""
    r"|\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<sign>:?-)(?P<default>[^{}$`\"']*))?\})"
    r"|(?P<text>[^'\"$`;&|<>()]+)"
)
_GRAMMAR = "a line is NAME TYPE DESTINATION LOCATION [REF], and TYPE is git, tar, file or package"


@dataclass(frozen=True)
class Source:
    """One source repository as a build wants it; ``file`` and ``where`` (element, file, number) say who names it.

    ``kind`` is git, tar or file; ``destination`` the path in the tree; ``ref`` a git reference (``*``: all), or the
    folder of an archive that is wanted.
    """

    name: str
    kind: str
    destination: str
    location: str
    ref: str
    file: str
    where: str

    def __str__(self) -> str:
        return f"{self.name} {self.shown} {self.ref}".rstrip()

    @property
    def ref_variable(self) -> str:
        """The variable that overrides its reference."""
        return override("DIB_REPOREF_", self.name)

    @property
    def location_variable(self) -> str:
        """The variable that overrides its location."""
        return override("DIB_REPOLOCATION_", self.name)

    @property
    def shown(self) -> str:
        """Its location as it may be told: without a password."""
        return without_password(self.location)


def override(prefix: str, name: str) -> str:
    """The variable that overrides something of a source repository."""
    return prefix + re.sub(r"[^A-Za-z0-9]", "_", name)


def without_password(location: str) -> str:
    """An address without the user and password in it."""
    return without_credentials(location)


def are_fetched(merged: HooksTree) -> bool:
    """Does any script that runs outside the tree speak of ``source-repository-*`` files at all."""
    return any(hook.is_script and REPOSITORIES in words(hook.text) for hook in merged.values())


def read(files: Mapping[str, HookFile], environment: Mapping[str, str]) -> tuple[Source, ...]:
    """The source repositories that these files (by path) want with these variables, in order of files and lines.

    Those whose install type is not ``source`` are not wanted. Raises UsageError with file and line for what cannot be
    read.
    """
    if environment.get(EVERYTHING_OFF):
        return ()
    sources = []
    for path, hook in sorted(files.items()):
        if path.endswith("~"):  # an editor's copy
            continue
        for number, line in _lines(hook.text):
            where = f"element {hook.element}, {path}:{number}"
            fields = expand(line, environment, where).split()
            if fields and not fields[0].startswith("#"):
                sources += _sources_of(fields, environment, path, where)
    return tuple(sources)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, as the shell reads them: a backslash hides the next character, or the end."""
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        hidden = re.sub(r"\\(.)", r"\1", line)
        if re.search(r"(?<!\\)(?:\\\\)*\\$", line):
            before += hidden.removesuffix("\\")
            continue
        yield number, before + hidden
        before = ""
    if before:
        yield len(text.splitlines()), before


def expand(line: str, environment: Mapping[str, str], where: str) -> str:
    """A line with its variables replaced and its quotes removed, as the shell would give it to ``echo``.

    Knows ``$NAME``, ``${NAME}``, ``${NAME:-DEFAULT}`` and comments; raises UsageError for more, and unset variables.
    """
    expanded = ""
    at = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None:
            raise UsageError(
                f"{line[at : at + 2]!r} cannot be used in a line of a source repository",
                where=where,
                hint="quote it, or set a variable in environment.d and name that",
            )
        comment = re.search(r"\s#", (expanded[-1:] or " ") + (match["text"] or ""))
        if comment:
            return expanded + match["text"][: comment.start()]
        expanded += _value(match, environment, where)
        at = match.end()
    return expanded


def _value(match: re.Match[str], environment: Mapping[str, str], where: str) -> str:
    if (double := match["double"]) is not None:
        return "".join(
            _value(part, environment, where) if part.group("plain") or part.group("braced") else part[0]
            for part in re.finditer(f"{_TOKEN.pattern}|.", double, re.DOTALL)
        )
    name = match["plain"] or match["braced"]
    if not name:
        return str(match["single"] if match["single"] is not None else match["text"])
    value = environment.get(name)
    if match["sign"] and (value is None or (match["sign"] == ":-" and not value)):
        return str(match["default"])
    if value is None:
        raise UsageError(f"the variable {name} is not set", where=where, hint=f"--set {name}=VALUE")
    return value


def _sources_of(fields: list[str], environment: Mapping[str, str], file: str, where: str) -> list[Source]:
    """The source repository of one line's fields, or none."""
    if len(fields) < 2 or fields[1] not in KINDS:
        raise UsageError(f"{' '.join(fields)!r} names no source repository", where=where, hint=_GRAMMAR)
    name, written, *rest = fields
    destination = rest.pop(0) if rest and rest[0].startswith("/") else ""
    location = rest.pop(0) if rest else ""
    ref = rest.pop(0) if rest else DEFAULT_REFS.get(written, "")
    if rest:
        raise UsageError(f"{rest[0]!r} is one field too many", where=where, hint=_GRAMMAR)
    default = environment.get("DIB_DEFAULT_INSTALLTYPE", "source")
    install_type = override("DIB_INSTALLTYPE_", name)
    if (environment.get(install_type) or default) != "source":
        return []
    kind = environment.get(override("DIB_REPOTYPE_", name)) or written
    if kind not in ("git", "tar", "file"):
        raise UsageError(
            f"the source repository {name!r} has the type {kind!r}, which cannot be fetched",
            where=where,
            hint=f"--set {install_type}=package installs it from packages",
        )
    moved = environment.get(override("DIB_REPOLOCATION_", name))
    location = moved or location
    if not moved and kind == "git" and environment.get("DIB_GITREPOBASE"):
        location = rebased(location, environment["DIB_GITREPOBASE"])
    if not location or (not destination and kind != "tar"):
        missing = "destination" if location else "location"
        raise UsageError(f"the source repository {name!r} has no {missing}", where=where, hint=_GRAMMAR)
    ref = environment.get(override("DIB_REPOREF_", name)) or ref
    return [Source(name, kind, destination, location, ref, file, where)]


def rebased(location: str, base: str) -> str:
    """A git location with scheme and host (and a leading ``~USER``) replaced by ``DIB_GITREPOBASE``."""
    match = re.fullmatch(r"[^:]+://[^/]+/(?:~[^/]+)?(.*)", location)
    return base + match[1] if match else location


def given_below(path: str, host_files: Mapping[str, str]) -> dict[str, str]:
    """Those of the given files (path to SHA-256) that are this one or lie below it."""
    return {
        name: host_files[name] for name in sorted(host_files) if path and (name == path or name.startswith(f"{path}/"))
    }


def local_path(location: str) -> str:
    """The path of a location that is one (``/srv/x``, ``file:///srv/x``), or nothing."""
    if location.startswith("/"):
        return location.rstrip("/")
    parts = urlsplit(location)
    return parts.path.rstrip("/") if parts.scheme == "file" else ""
