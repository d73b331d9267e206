"""What of a request is secret: by names that the user and the elements give, and among the files that go along."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.request.host_files import named_paths
from stages.element.resolve import Element
from stages.protocol.request import Request
from stages.redaction.names import FILE, is_name, names_of
from stages.redaction.patterns import is_secret_name, parts
from stages.redaction.redaction import Redaction

KEY_VARIABLE = "DIB_CTR_KEY_SECRET"
SHORTEST_KEY = 32  # bytes
# Files that hold credentials whatever names them.
CREDENTIALS = frozenset(
    {".netrc", "netrc", ".git-credentials", ".npmrc", ".pypirc", "auth.conf", ".pgpass", ".htpasswd"}
)
LARGEST = 1 << 20  # bytes of a file that is looked through


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names that ``--secret`` gives; raises UsageError for what cannot be one."""
    for name in names:
        if not is_name(name):
            raise UsageError(f"--secret {name!r} is not a variable's name", hint="--secret DIB_REGISTRATION")
    return tuple(dict.fromkeys(names))


def secrets_of(
    names: Iterable[str],
    elements: Sequence[Element],
    variables: Mapping[str, str],
    host_files: Mapping[str, Path],
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """What the request says of secrets (``Request.secrets``); ``names`` are the user's. Raises UsageError."""
    own = names_of(element.path for element in elements if (element.path / FILE).is_file())
    called = tuple(sorted({*names, *own}))
    files = sorted(path for path in _named_by_secrets(variables, called) if path in host_files)
    files += [path for path, file in sorted(host_files.items()) if path not in files and _is_secret(file)]
    result: dict[str, Any] = {}
    if called:
        result["names"] = called
    if files:
        result["files"] = tuple(files)
    if key := environment.get(KEY_VARIABLE, ""):
        if len(key.encode("utf-8", "surrogateescape")) < SHORTEST_KEY:
            raise UsageError(
                f"{KEY_VARIABLE} is shorter than {SHORTEST_KEY} bytes: it could be guessed",
                hint=f"{KEY_VARIABLE}=$(openssl rand -hex 32), the same on all machines that share the cache",
            )
        result["key"] = key
    return result


def redaction_of(
    request: Request, host_files: Mapping[str, Path] | None = None, passphrases: Mapping[str, str] | None = None
) -> Redaction:
    """The redaction of a request; ``host_files`` are its files here, ``passphrases`` (base64) those of disks."""
    secrets = request.secrets
    files = {
        path: _content((host_files or {})[path]) for path in secrets.get("files", ()) if path in (host_files or {})
    }
    more = [text for coded in (passphrases or {}).values() if (text := _decoded(coded))]
    if key := str(secrets.get("key", "")):
        more.append(key)
    return Redaction.of(request.variables, secrets.get("names", ()), request.given, files, more)


def _named_by_secrets(variables: Mapping[str, str], names: Iterable[str]) -> set[str]:
    """All paths that the values of secret variables name, with what may lie below them."""
    return {
        str(path)
        for name, value in variables.items()
        if is_secret_name(name, value, names)
        for root in named_paths(value)
        for path in (root, *(root.rglob("*") if root.is_dir() else ()))
    }


def _is_secret(file: Path) -> bool:
    """Is this file one with credentials, by its name or its content."""
    return file.name in CREDENTIALS or any(True for _ in parts(_content(file).decode("utf-8", "replace")))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.stat().st_size <= LARGEST else b""
    except OSError:
        return b""


def _decoded(coded: str) -> str:
    try:
        return base64.b64decode(coded).decode("utf-8").strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
