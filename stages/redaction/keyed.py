"""What stands for a secret in keys: a keyed digest, which nobody can guess who has not the key of this store.

That key is made by the first build that has a secret, lies in the store, and goes nowhere. Who wants stages that saw a
secret in a shared cache gives all machines that use it a common one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from blockdev.core.digest import digest
from blockdev.core.errors import BuildError
from stages.redaction.redaction import Redaction

KEY_FILE = "secret-key"  # in the store
LENGTH = 32  # bytes
KEYED = "keyed:"  # how the digest of a secret begins
SEEN = "secrets"  # the input of a stage that saw a secret, or lies on one that did: whose key stands in its digests
OWN = "of this store"


@dataclass(frozen=True)
class KeyDigests:
    """Digests for keys: plain ones of what may be told, keyed ones of what is secret.

    ``store`` is the store's folder; ``common`` is the key that machines share, if they do (``DIB_CTR_KEY_SECRET``).
    """

    redaction: Redaction = field(default_factory=Redaction)
    store: Path | None = None
    common: str = field(default="", repr=False)

    def of_variable(self, name: str, value: str) -> str:
        """The digest of a variable's value."""
        if self.redaction.is_in(name, value):
            return self._keyed(f"variable {name}={value}")
        return digest(value)

    def of_given(self, path: str, sha256: str) -> str:
        """The digest that stands for a given file of this SHA-256."""
        return self._keyed(f"given {sha256}") if path in self.redaction.files else sha256

    def of_all_given(self, host_files: Mapping[str, str]) -> dict[str, str]:
        """The same for several files, by path."""
        return {path: self.of_given(path, sha256) for path, sha256 in host_files.items()}

    @cached_property
    def whose(self) -> str:
        """Whose key it is: what names a common one does not tell it."""
        if not self.common:
            return OWN
        return f"common {hmac.new(self._key, b'name of the key', hashlib.sha256).hexdigest()[:16]}"

    def may_travel(self, inputs: Mapping[str, str]) -> bool:
        """May the layer of a stage with these inputs go to a shared cache: it saw no secret, or the key is common."""
        return inputs.get(SEEN, "") in ("", *((self.whose,) if self.common else ()))

    @cached_property
    def _key(self) -> bytes:
        if self.common:
            return hashlib.sha256(self.common.encode("utf-8", "surrogateescape")).digest()
        if self.store is None:
            raise BuildError("no store keeps a key for digests of secrets")
        return _key_of(self.store)

    def _keyed(self, text: str) -> str:
        return KEYED + hmac.new(self._key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _key_of(store: Path) -> bytes:
    """The store's own key; made where there is none, whole or not at all. Only its owner can read it."""
    file = store / KEY_FILE
    try:
        if (key := _read(file)) is not None:
            return key
        partial = file.with_name(f".{KEY_FILE}.{secrets.token_hex(4)}")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as data:
            data.write(secrets.token_bytes(LENGTH))
            data.flush()
            os.fsync(handle)
        if file.exists():  # cut short by something: no stage made with it can be found again
            file.unlink()
        try:
            os.link(partial, file)
        except FileExistsError:
            pass  # another build was first
        finally:
            partial.unlink()
        key = _read(file)
    except OSError as error:
        raise BuildError(f"the store's key for secrets cannot be kept: {error.strerror}", where=str(file)) from error
    if key is None:
        raise BuildError("the store's key for secrets is not whole", where=str(file), hint=f"remove {file}")
    return key


def _read(file: Path) -> bytes | None:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    return data if len(data) == LENGTH else None
