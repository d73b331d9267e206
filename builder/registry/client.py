"""Asking a registry for manifests and blobs, and giving it manifests: what skopeo cannot do.

skopeo writes a list of manifests anew and drops fields that it does not know, and cannot be asked whether it may push.
Protocol: OCI distribution specification 1.1; tokens: the bearer scheme of the distribution project; certificates:
containers-certs.d(5). Whatever lets skopeo in lets this in.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep as pause
from typing import IO, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from docker.auth import INDEX_NAME
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import InsecureRequestWarning

from blockdev.core.errors import BuildError
from builder.registry.credentials import Credentials, auth_files, credentials
from stages.outputs.formats import media_types

TIMEOUT = 30.0  # seconds
PIECE = 1 << 20  # bytes of a blob that are asked for at a time
LARGEST_ANSWER = 4 << 20  # bytes of anything but a blob
MOST_REDIRECTS = 5
MANIFESTS = (
    media_types.MANIFEST,
    media_types.INDEX,
    media_types.DOCKER_MANIFEST,
    media_types.DOCKER_LIST,
)
INSECURE = "--insecure pushes to a registry without TLS, or whose certificate nobody vouches for"
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
Result = TypeVar("Result")


class TransientError(BuildError):
    """A failure that may be over when the same is tried again."""


class MissingBlobError(TransientError):
    """A manifest names what the registry has not: it was removed, or somebody else gives it the same at this moment.

    docker-registry writes its note of a blob anew when the blob comes again, and knows of none while it does.
    """


PAUSES: tuple[float, ...] = (2, 4, 8)  # seconds
LACKING = ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN")  # of the specification's "Error Codes"


def with_retries(
    work: Callable[[], Result], on_note: Callable[[str], None], pauses: Sequence[float] = PAUSES
) -> Result:
    """Do ``work``, again after each of the ``pauses`` where it fails with PassingError; says so with ``on_note``."""
    for seconds in pauses:
        try:
            return work()
        except TransientError as error:
            on_note(f"{error.what}: trying again in {seconds} s")
            pause(seconds)
    return work()


# -- the way there ---------------------------------------------------------------------------------


def certificates(host: str) -> Path | None:
    """The folder with the certificates for this host, the first that there is."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folders = (config / "containers", Path("/etc/containers"), Path("/etc/docker"))
    return next((each for folder in folders if (each := folder / "certs.d" / host).is_dir()), None)


def _context(host: str, *, insecure: bool) -> ssl.SSLContext:
    """Whom to trust: the system's authorities and the host's own; its clients' certificates are shown."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    folder = certificates(host)
    try:
        for file in sorted(folder.iterdir()) if folder else []:
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                context.load_cert_chain(file, file.with_suffix(".key"))
    except OSError as error:  # ssl.SSLError is one
        raise BuildError(f"a certificate for {host} cannot be read: {error}", where=str(folder)) from error
    return context


class _Session(requests.Session):
    """A session that no redirect leads from TLS to plain HTTP; to other hosts go no credentials (as in requests)."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and _scheme(resp.url) == "https" and _scheme(urljoin(resp.url, target)) != "https":
            raise requests.exceptions.InvalidSchema(f"it leads from TLS to {target[:100]}")
        return target


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.lower()


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Whom another host than the registry's sees."""
    request.headers.pop("Authorization", None)
    return request


class _Trusting(HTTPAdapter):
    """Connections that trust whom a context trusts."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)


def is_loopback(host: str) -> bool:
    """Is this host (with its port) this machine? No proxy is asked about that."""
    name = urlsplit(f"//{host}").hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


# -- the registry ----------------------------------------------------------------------------------


@dataclass
class Registry:
    """A registry at ``host``; ``insecure`` allows plain HTTP and certificates that nobody vouches for.

    ``timeout`` is how long it may be silent, in seconds.
    """

    host: str
    insecure: bool = False
    authfile: Path | None = None
    timeout: float = TIMEOUT
    _base: str = ""
    _session: requests.Session = field(default_factory=_Session)

    def __post_init__(self) -> None:
        self._session.max_redirects = MOST_REDIRECTS
        self._session.trust_env = False  # no .netrc, and no REQUESTS_CA_BUNDLE in the place of --insecure
        self._session.mount("https://", _Trusting(_context(self.host, insecure=self.insecure)))

    def ping(self) -> None:
        """Raise BuildError where no registry answers ("Determining Support")."""
        host = f"registry-1.{INDEX_NAME}" if self.host == INDEX_NAME else self.host
        reason = ""
        for scheme in ("https", "http") if self.insecure else ("https",):
            try:
                answer = self._send("GET", f"{scheme}://{host}/v2/")
            except requests.RequestException as error:
                reason = reason or _reason(error)
                continue
            if answer.status_code in (200, 401, 403):
                self._base = f"{scheme}://{host}/v2/"
                return
            reason = f"it answers {answer.status_code} {answer.reason}"
        hint = "check its name and port, and whether it runs"
        if not self.insecure and self._is_insecure():
            hint = INSECURE
        raise BuildError(f"the registry {self.host} does not answer: {reason}", where=self.host, hint=hint)

    def _is_insecure(self) -> bool:
        try:
            Registry(self.host, insecure=True).ping()
        except BuildError:
            return False
        return True

    def check_push(self, name: str) -> None:
        """Raise BuildError where the repository ``name`` takes no image from here: begins an upload and cancels it."""
        self._credentials(name)  # skopeo reads them even where nobody asks for any
        answer = self._request("POST", name, "blobs/uploads/")
        location = urljoin(answer.url, answer.headers.get("Location", ""))
        with contextlib.suppress(requests.RequestException):  # registries remove what nobody finishes
            self._send("DELETE", location)

    def manifest(self, name: str, reference: str) -> bytes:
        """A manifest of the repository ``name`` by tag or digest; empty where there is none."""
        headers = {"Accept": ", ".join(MANIFESTS)}
        answer = self._request("GET", name, f"manifests/{reference}", absent=(404,), headers=headers)
        return answer.content if answer.ok else b""

    def blob(self, name: str, digest: str) -> Iterator[bytes]:
        """A blob of the repository ``name``, piece by piece; unchecked. Raises PassingError where it breaks off."""
        answer = self._request("GET", name, f"blobs/{digest}", stream=True)
        try:
            yield from answer.iter_content(PIECE)
        except requests.RequestException as error:
            what = f"the registry {self.host} broke off: {_reason(error)}"
            raise TransientError(what, where=self.host, hint="run it again") from error
        finally:
            answer.close()

    def put_manifest(self, name: str, reference: str, data: bytes, media_type: str) -> None:
        """Give the repository ``name`` a manifest whose blobs it has; LackingError where it says it has not."""
        self._request("PUT", name, f"manifests/{reference}", data=data, headers={"Content-Type": media_type})

    def has_blob(self, name: str, digest: str) -> bool:
        """Does the repository ``name`` have this blob."""
        return self._request("HEAD", name, f"blobs/{digest}", absent=(404,)).ok

    def has_manifest(self, name: str, reference: str) -> bool:
        """Does the repository ``name`` have this manifest."""
        headers = {"Accept": ", ".join(MANIFESTS)}
        return self._request("HEAD", name, f"manifests/{reference}", absent=(404,), headers=headers).ok

    def put_blob(self, name: str, digest: str, data: IO[bytes] | bytes) -> None:
        """Give the repository ``name`` a blob ("Pushing a blob monolithically"); a file is read from its beginning."""
        answer = self._request("POST", name, "blobs/uploads/")
        location = urlsplit(urljoin(answer.url, answer.headers.get("Location", "")))
        query = f"{location.query}&digest={digest}" if location.query else f"digest={digest}"
        if not isinstance(data, bytes):
            data.seek(0)
        headers = {"Content-Type": "application/octet-stream"}
        try:
            answer = self._send("PUT", location._replace(query=query).geturl(), data=data, headers=headers)
        except requests.RequestException as error:
            what = f"the registry {self.host} broke off: {_reason(error)}"
            raise TransientError(what, where=self.host, hint="run it again") from error
        self._check(answer, name)

    def delete_manifest(self, name: str, digest: str) -> bool:
        """Delete a manifest of the repository ``name`` by its digest; False where the registry deletes nothing."""
        answer = self._request("DELETE", name, f"manifests/{digest}", absent=(400, 404, 405))
        return answer.ok or answer.status_code == 404

    def another(self) -> Registry:
        """The same registry for another thread, logged in as this one is."""
        session = _Session()
        session.headers.update(self._session.headers)
        session.auth = self._session.auth
        return replace(self, _session=session)

    def lists_referrers(self, name: str, digest: str) -> bool:
        """Does it say by itself what refers to a manifest ("Listing Referrers")."""
        headers = {"Accept": media_types.INDEX}
        answer = self._request("GET", name, f"referrers/{digest}", absent=(400, 404, 405), headers=headers)
        return answer.ok and answer.headers.get("Content-Type", "").startswith(media_types.INDEX)

    def _send(self, method: str, url: str, *, stream: bool = False, **arguments: Any) -> requests.Response:
        """Ask once; what comes is read here, up to a bound, unless it is to be a ``stream``."""
        if self._base and not self._is_own(url):
            arguments.setdefault("auth", _nobody)
        proxies = {} if is_loopback(urlsplit(url).netloc) else get_environ_proxies(url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)  # it was asked for
            answer = self._session.request(
                method, url, timeout=self.timeout, verify=not self.insecure, proxies=proxies, stream=True, **arguments
            )
        return answer if stream else self._read(answer)

    def _is_own(self, url: str) -> bool:
        """Is this an address of the registry itself, by a way that is as safe."""
        own, other = urlsplit(self._base), urlsplit(url)
        return own.netloc == other.netloc and own.scheme == other.scheme

    def _read(self, answer: requests.Response) -> requests.Response:
        """The answer with all that it says, where that is no more than a document."""
        data = b""
        with contextlib.closing(answer):
            for piece in answer.iter_content(1 << 16):
                data += piece
                if len(data) > LARGEST_ANSWER:
                    what = f"the registry {self.host} answers with more than {LARGEST_ANSWER >> 20} MiB"
                    raise BuildError(what, where=self.host, hint="no document of an image is so large")
        answer._content = data  # noqa: SLF001 (as its own reading leaves it)
        return answer

    def _request(
        self, method: str, name: str, path: str, *, absent: tuple[int, ...] = (), **arguments: Any
    ) -> requests.Response:
        """Ask about a repository, logged in where that is wanted; BuildError for a bad answer but those ``absent``."""
        if not self._base:
            self.ping()
        if self.host == INDEX_NAME and "/" not in name:
            name = f"library/{name}"
        url = f"{self._base}{name}/{path}"
        try:
            answer = self._send(method, url, **arguments)
            if answer.status_code == 401 and self._log_in(answer.headers.get("WWW-Authenticate", ""), name):
                answer = self._send(method, url, **arguments)
        except requests.RequestException as error:
            what = f"the registry {self.host} does not answer: {_reason(error)}"
            raise TransientError(what, where=self.host, hint="run it again") from error
        if answer.status_code not in absent:
            self._check(answer, name)
        return answer

    def _credentials(self, name: str) -> Credentials | None:
        return credentials(self.host, name, [self.authfile] if self.authfile else auth_files(os.environ))

    def _log_in(self, challenge: str, name: str) -> bool:
        """Take what the registry asks for into the session: a password or a token; False where there is none."""
        credentials = self._credentials(name)
        scheme, _, rest = challenge.partition(" ")
        self._session.headers.pop("Authorization", None)
        if scheme.lower() == "basic" and credentials:
            self._session.auth = credentials
            return True
        if scheme.lower() != "bearer":
            return False
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.pop("realm", "")
        if _scheme(realm) != "https" and _scheme(self._base) == "https":
            raise BuildError(f"the registry {self.host} wants a password sent without TLS", where=realm[:200])
        answer = self._send("GET", realm, params=parameters, auth=credentials or _nobody)
        if answer.status_code != 200:
            return False
        data = answer.json()
        token = (data.get("token") or data.get("access_token")) if isinstance(data, dict) else None
        if not isinstance(token, str):
            return False
        self._session.headers["Authorization"] = f"Bearer {token}"
        return True

    def _check(self, answer: requests.Response, name: str) -> None:
        if answer.ok:
            return
        where, status = f"{self.host}/{name}", f"{answer.status_code} {answer.reason}"
        if answer.status_code in (401, 403):
            hint = f"log in first: podman login {self.host}, or --authfile FILE"
            raise BuildError(f"the registry {self.host} refuses: {status}", where=where, hint=hint)
        kind = TransientError if answer.status_code in (408, 429) or answer.status_code >= 500 else BuildError
        if answer.request.method == "PUT" and any(f'"{code}"' in answer.text for code in LACKING):
            kind = MissingBlobError
        hint = "run it again; its own log says more"
        raise kind(f"the registry {self.host} answers {status}: {answer.text[:200]}", where=where, hint=hint)


def _reason(error: requests.RequestException) -> str:
    """What went wrong, without the layers that say so."""
    cause: BaseException = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    inner = getattr(cause, "reason", None) or cause
    return re.sub(r"^<[^>]*>: ", "", str(inner)) or type(error).__name__
