"""Waits until a machine answers on its SSH port, and logs in there with a key."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.tools import run

_BETWEEN = 1.0  # seconds between two tries
_ANSWER = 10.0  # seconds to wait for a banner; emulated machines are slow
_LOGIN = 60  # seconds for one login
# What cloud-init lets root's key say where root is not to log in.
_OTHER_USER = re.compile(r'login as the user "([^"]+)" rather than')


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def banner(port: int) -> str:
    """The first line that a server on this machine's port says by itself, or "" where none does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER) as connection:
            connection.settimeout(_ANSWER)
            return connection.recv(255).split(b"\n")[0].decode("ascii", "replace").strip()
    except OSError:
        return ""


def key_pair(file: Path | None, folder: Path) -> tuple[Path, str]:
    """A private key, and its public one as a line of authorized_keys: those of ``file``, made where there is none.

    Without ``file`` they are made in ``folder``. BuildError where ssh-keygen fails.
    """
    private = file or folder / "key"
    if not shutil.which("ssh-keygen"):
        raise BuildError("ssh-keygen is not installed", hint="apt-get install openssh-client")
    if not private.exists():
        _keygen("-q", "-t", "ed25519", "-N", "", "-C", "dib-ctr-boot", "-f", str(private))
    return private.resolve(), _keygen("-y", "-P", "", "-f", str(private)).strip()


def _keygen(*arguments: str) -> str:
    done = run(["ssh-keygen", *arguments])
    if done.status:
        raise BuildError(
            f"ssh-keygen failed: {done.errors.strip()}",
            where=arguments[-1],
            hint="--ssh-key takes a private key without a passphrase, or a name for a new one",
        )
    return done.text


def login_command(port: int, key: Path, user: str) -> list[str]:
    """The command that logs in and does nothing; nobody's configuration and known hosts take part."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "30",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "PasswordAuthentication": "no",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *words, "-i", str(key), "-p", str(port), f"{user}@127.0.0.1", "true"]


def other_user(output: str) -> str:
    """The user that a machine names instead of root, or ""."""
    match = _OTHER_USER.search(output)
    return match[1] if match else ""


class SshWatch:
    """Tries in the background until the server answers and, where there is a key, a login works.

    ``banner`` is the server's greeting, ``user`` who has logged in, ``refusal`` the last refusal.
    """

    def __init__(self, port: int, key: Path | None) -> None:
        self.banner = ""
        self.user = ""
        self.refusal = ""
        self._port = port
        self._key = key
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def reached(self) -> bool:
        """Is all done that was to be done."""
        return bool(self.user if self._key else self.banner)

    def __enter__(self) -> SshWatch:
        """Begin to try."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; no process is left."""
        self._closed.set()
        with self._lock:
            if self._process:
                self._process.kill()
        self._thread.join(_ANSWER + 1)

    def _run(self) -> None:
        user = "root"
        while not self.reached and not self._closed.wait(_BETWEEN):
            if not self.banner:
                line = banner(self._port)
                self.banner = line if line.startswith("SSH-") else ""
            if self.banner and self._key:
                user = self._login(user, self._key)

    def _login(self, user: str, key: Path) -> str:
        """Try once; returns who is to try next."""
        with self._lock:
            if self._closed.is_set():
                return user
            self._process = subprocess.Popen(
                login_command(self._port, key, user),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        process = self._process
        try:
            self.refusal = process.communicate(timeout=_LOGIN)[0].strip()
        except subprocess.TimeoutExpired:
            process.kill()
            self.refusal = process.communicate()[0].strip() or "the login did not come to its end"
            return user
        if process.returncode == 0:
            self.user = user
        return other_user(self.refusal) or user
