"""User and password for a registry, from the files in which engines keep them (containers-auth.json(5))."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from docker.auth import INDEX_NAME, INDEX_URL

from blockdev.core import tools
from blockdev.core.errors import BuildError

Credentials = tuple[str, str]


def auth_files(environment: Mapping[str, str]) -> list[Path]:
    """Where engines keep credentials, in the order in which skopeo looks."""
    if setting := environment.get("REGISTRY_AUTH_FILE"):
        return [Path(setting)]
    home = Path(environment.get("HOME", "/"))
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    return [
        Path(runtime) / "containers" / "auth.json",
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json",
        Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
    ]


def credentials(host: str, name: str, files: Iterable[Path]) -> Credentials | None:
    """User and password for the repository ``host/name`` from the first file that has any, or None.

    An entry for the repository or a part of its path comes before the host's. Raises BuildError for a file that cannot
    be understood: skopeo would not push with it either.
    """
    for file in files:
        try:
            pair = _from_file(host, name, json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError) as error:
            hint = f"log in again: podman login {host}"
            raise BuildError(
                f"the credentials in {file} cannot be read: {error}", where=str(file), hint=hint
            ) from error
        if pair:
            return pair
    return None


def _plain(host: str) -> str:
    """A host without what older versions of docker wrote around it; the central registry has several names."""
    host = host.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return INDEX_NAME if host in (f"index.{INDEX_NAME}", f"registry-1.{INDEX_NAME}") else host


def _keys(host: str, name: str) -> Iterator[str]:
    """What may name a repository in a file, the most exact first."""
    path = name
    while path:
        yield f"{host}/{path}"
        path = path.rpartition("/")[0]
    yield host


def _from_file(host: str, name: str, data: Mapping[str, Any]) -> Credentials | None:
    helpers, entries = data.get("credHelpers") or {}, data.get("auths") or {}
    for key in _keys(host, name):
        if key in helpers:
            return _from_program(helpers[key], key)
        if pair := _decoded(entries.get(key) or {}):
            return pair
    for key, entry in entries.items():
        if _is_old(key) and _plain(key) == _plain(host) and (pair := _decoded(entry)):
            return pair
    server = INDEX_URL if _plain(host) == INDEX_NAME else host
    return _from_program(data["credsStore"], server) if data.get("credsStore") else None


def _is_old(key: str) -> bool:
    """Is this a host as docker writes it (a URL), not a host with a part of a repository's path."""
    return "://" in key or "/" not in key


def _decoded(entry: Mapping[str, Any]) -> Credentials | None:
    if not entry.get("auth"):
        return None
    try:
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("a password is not in base64") from error
    return user, password.rstrip("\0")


def _from_program(store: str, server: str) -> Credentials | None:
    """Ask a credential program (docker-credential-STORE)."""
    program = shutil.which(f"docker-credential-{store}")
    if program is None:
        return None
    done = tools.run([program, "get"], data=server.encode())
    try:
        data = json.loads(done.out)
        return str(data["Username"]), str(data["Secret"])
    except (ValueError, KeyError, TypeError):
        return None
