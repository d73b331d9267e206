"""Keys that synthetic mirrors are signed with, made by GnuPG in a folder of their own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Key:
    """A secret key in the GnuPG folder ``home``, by its user's ``name``."""

    home: Path
    name: str
    clock: str = ""  # what the key's owner takes for now, as 20200101T000000; "" is the machine's time

    @classmethod
    def make(cls, home: Path, name: str, expires: str = "never", clock: str = "") -> Key:
        """A new key, without a passphrase; ``expires`` is as GnuPG has it (``never``, ``seconds=1``)."""
        home.mkdir(mode=0o700, parents=True)
        key = cls(home, name, clock)
        key.run("--passphrase", "", "--quick-gen-key", f"{name} <synthetic@mirror.invalid>", "rsa2048", "sign", expires)
        return key

    def renew(self, expires: str = "never") -> Key:
        """The same key with another end, as its owner has it from now on."""
        listed = self.run("--with-colons", "--list-keys", self.name).decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        renewed = replace(self, clock="")
        renewed.run("--passphrase", "", "--quick-set-expire", fingerprint, expires)
        return renewed

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        """gpg with this folder; what it prints. Raises CalledProcessError."""
        clock = ("--faked-system-time", f"{self.clock}!") if self.clock else ()
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *clock, *arguments]
        return subprocess.run(command, input=data, check=True, capture_output=True).stdout

    def public(self, *, armor: bool = True) -> bytes:
        """The public key."""
        return self.run(*(("--armor",) if armor else ()), "--export", self.name)

    def sign(self, file: Path, target: Path, *, armor: bool = True) -> None:
        """A signature of ``file`` in a file of its own."""
        target.unlink(missing_ok=True)
        options = ("--armor",) if armor else ()
        self.run(*options, "--detach-sign", "--local-user", self.name, "--output", str(target), str(file))

    def clear_sign(self, text: bytes) -> bytes:
        """The text with its signature around it."""
        return self.run("--clearsign", "--local-user", self.name, data=text)
