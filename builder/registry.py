"""Asking a registry for manifests and giving it some, with the credentials that engines keep (auth files).

Only what skopeo cannot do: it writes a list of manifests anew and drops fields that it does not know. Protocol: OCI
distribution specification 1.1; tokens: the bearer scheme of the distribution project.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from stages.errors import BuildError
from stages.export import layout

TIMEOUT = 30.0  # seconds
MANIFESTS = (
    layout.MANIFEST_TYPE,
    layout.INDEX_TYPE,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

Credentials = tuple[str, str]


def auth_files(environment: dict[str, str]) -> Iterator[Path]:
    """Where engines keep credentials, in the order in which skopeo looks (containers-auth.json(5))."""
    home = Path(environment.get("HOME", "/"))
    if given := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(given)
        return
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    yield Path(runtime) / "containers" / "auth.json"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def credentials(host: str, files: Iterator[Path]) -> Credentials | None:
    """User and password for a registry from the first file that has any, or None."""
    for file in files:
        try:
            data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = _from_file(host, data)
        if found:
            return found
    return None


def _from_file(host: str, data: dict[str, Any]) -> Credentials | None:
    for name, entry in data.get("auths", {}).items():
        if name.removeprefix("https://").removeprefix("http://").partition("/")[0] == host and entry.get("auth"):
            try:
                user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                continue
            return user, password
    store = data.get("credHelpers", {}).get(host) or data.get("credsStore")
    return _from_program(store, host) if store else None


def _from_program(store: str, host: str) -> Credentials | None:
    """Ask a credential program (docker-credential-STORE)."""
    program = shutil.which(f"docker-credential-{store}")
    if program is None:
        return None
    done = subprocess.run([program, "get"], input=host, capture_output=True, text=True, check=False)
    try:
        data = json.loads(done.stdout)
        return str(data["Username"]), str(data["Secret"])
    except (ValueError, KeyError):
        return None


@dataclass
class Registry:
    """A registry at ``host``; ``insecure`` allows plain HTTP and certificates that nobody vouches for."""

    host: str
    insecure: bool = False
    authfile: Path | None = None
    _scheme: str = ""
    _session: requests.Session = field(default_factory=requests.Session)

    def ping(self) -> None:
        """Raise BuildError where no registry answers ("Determining Support")."""
        schemes = ("https", "http") if self.insecure else ("https",)
        self._session.verify = not self.insecure
        reason = ""
        for scheme in schemes:
            try:
                answer = self._session.get(f"{scheme}://{self.host}/v2/", timeout=TIMEOUT)
            except requests.RequestException as error:
                reason = reason or _reason(error)
                continue
            if answer.status_code in (200, 401, 403):
                self._scheme = scheme
                return
            reason = f"it answers {answer.status_code}, and is no registry"
        hint = "check its name and port, and whether it runs"
        if not self.insecure and self._is_insecure():
            hint = "--insecure pushes to a registry without TLS, or whose certificate nobody vouches for"
        raise BuildError(f"the registry {self.host} does not answer: {reason}", where=self.host, hint=hint)

    def _is_insecure(self) -> bool:
        try:
            Registry(self.host, insecure=True).ping()
        except BuildError:
            return False
        return True

    def manifest(self, name: str, reference: str) -> bytes:
        """A manifest of the repository ``name`` by tag or digest; empty where there is none."""
        headers = {"Accept": ", ".join(MANIFESTS)}
        answer = self._request("GET", name, f"manifests/{reference}", headers=headers)
        if answer.status_code == 404:
            return b""
        self._check(answer)
        return answer.content

    def put_manifest(self, name: str, reference: str, data: bytes, media_type: str) -> None:
        """Give the repository ``name`` a manifest whose blobs it has."""
        headers = {"Content-Type": media_type}
        self._check(self._request("PUT", name, f"manifests/{reference}", data=data, headers=headers))

    def _request(self, method: str, name: str, path: str, **arguments: Any) -> requests.Response:
        if not self._scheme:
            self.ping()
        url = f"{self._scheme}://{self.host}/v2/{name}/{path}"
        try:
            answer = self._session.request(method, url, timeout=TIMEOUT, **arguments)
            if answer.status_code == 401 and self._log_in(answer.headers.get("WWW-Authenticate", "")):
                answer = self._session.request(method, url, timeout=TIMEOUT, **arguments)
        except requests.RequestException as error:
            raise BuildError(
                f"the registry {self.host} does not answer: {_reason(error)}", hint="run it again"
            ) from error
        return answer

    def _log_in(self, challenge: str) -> bool:
        """Take what the registry asks for into the session: a password or a token; False where there is none."""
        files = iter([self.authfile]) if self.authfile else auth_files(dict(os.environ))
        known = credentials(self.host, files)
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and known:
            self._session.auth = known
            return True
        if scheme.lower() != "bearer":
            return False
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.pop("realm", "")
        answer = self._session.get(realm, params=parameters, auth=known, timeout=TIMEOUT)
        if answer.status_code != 200:
            return False
        data = answer.json()
        self._session.headers["Authorization"] = f"Bearer {data.get('token') or data.get('access_token', '')}"
        return True

    def _check(self, answer: requests.Response) -> None:
        if answer.status_code in (401, 403):
            raise BuildError(
                f"the registry {self.host} refuses: {answer.status_code} {answer.reason}",
                where=self.host,
                hint=f"log in first: podman login {self.host}, or --authfile FILE",
            )
        if answer.status_code >= 400:
            raise BuildError(
                f"the registry {self.host} answers {answer.status_code} {answer.reason}: {answer.text[:200]}",
                where=self.host,
                hint="run it again; its own log says more",
            )


def _reason(error: requests.RequestException) -> str:
    """What went wrong, without the layers that say so."""
    cause: BaseException = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    inner = getattr(cause, "reason", None) or cause
    return re.sub(r"^<[^>]*>: ", "", str(inner)) or type(error).__name__
