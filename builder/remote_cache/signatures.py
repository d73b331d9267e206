"""Signatures of entries, as cosign makes and checks them with a key pair ("simple signing", ECDSA P-256, SHA-256).

What is signed is a JSON text that names the manifest's digest (containers/image, docs/containers-signature.5.md); the
signature is the ASN.1 one, in base64. In a registry both lie where ``cosign verify --key`` looks for them: in a
manifest under the tag ``sha256-<hex>.sig`` (cosign, specs/SIGNATURE_SPEC.md).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from blockdev.core.errors import UsageError
from builder.remote_cache.index import IndexEntry, digest_of
from stages.outputs.formats import media_types, oci_layout

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_ALGORITHM = ec.ECDSA(hashes.SHA256())
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out key.pub"


def private_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a PEM file without a password; raises UsageError."""
    data = _read(file)
    if b"ENCRYPTED" in data:
        raise UsageError(f"{file} is a key with a password", where="sign=", hint=f"one without, from a secret: {MAKE}")
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{file} is no private key: {error}", where="sign=", hint=MAKE) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise UsageError(f"{file} is no ECDSA key on the curve P-256", where="sign=", hint=MAKE)
    return key


def public_keys(file: Path) -> tuple[ec.EllipticCurvePublicKey, ...]:
    """The keys of a PEM file, one or several; raises UsageError."""
    keys = []
    for block in _PUBLIC.findall(_read(file)):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UsageError(f"{file} has something that is no key: {error}", where="key=", hint=MAKE) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise UsageError(f"{file} has a key that is not ECDSA on the curve P-256", where="key=", hint=MAKE)
        keys.append(key)
    if not keys:
        raise UsageError(f"{file} has no public key", where="key=", hint=MAKE)
    return tuple(keys)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {file} cannot be read: {error.strerror}", where=str(file)) from error


def payload(entry: IndexEntry) -> bytes:
    """What is signed for an entry."""
    signed = {
        "critical": {
            "identity": {"docker-reference": entry.signed_as},
            "image": {"docker-manifest-digest": entry.digest},
            "type": "cosign container image signature",
        },
        "optional": {"writer": entry.writer} if entry.writer else None,
    }
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def sign(entry: IndexEntry, key: ec.EllipticCurvePrivateKey) -> str:
    """The signature over an entry, in base64."""
    return base64.b64encode(key.sign(payload(entry), _ALGORITHM)).decode("ascii")


def is_signed(entry: IndexEntry, keys: Sequence[ec.EllipticCurvePublicKey], writers: Sequence[str]) -> bool:
    """Is the entry signed with one of these keys, by one of these writers (none: whoever has the key)."""
    if not entry.signature or (writers and entry.writer not in writers):
        return False
    try:
        signature = base64.b64decode(entry.signature, validate=True)
    except ValueError:
        return False
    text = payload(entry)
    for key in keys:
        try:
            key.verify(signature, text, _ALGORITHM)
        except InvalidSignature:
            continue
        return True
    return False


def tag(entry: IndexEntry) -> str:
    """Where cosign looks for an entry's signatures."""
    return entry.digest.replace(":", "-") + ".sig"


def documents(entry: IndexEntry) -> tuple[bytes, bytes, bytes]:
    """Payload, config and manifest of a signature as cosign keeps it; the first two are blobs of the third."""
    text = payload(entry)
    config = oci_layout.encode(
        {
            "architecture": "",
            "created": "0001-01-01T00:00:00Z",
            "os": "",
            "config": {},
            "history": [{"created": "0001-01-01T00:00:00Z"}],
            "rootfs": {"type": "layers", "diff_ids": [digest_of(text)]},
        }
    )
    layer: dict[str, Any] = _described(PAYLOAD_TYPE, text)
    layer["annotations"] = {SIGNATURE: entry.signature}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": _described(media_types.CONFIG, config),
        "layers": [layer],
    }
    return text, config, oci_layout.encode(manifest)


def _described(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}
