"""Signing what was pushed, with cosign where it is installed."""

from __future__ import annotations

import shutil
import subprocess

from blockdev.core.errors import BuildError


def check() -> str:
    """The path of cosign; BuildError where it is not there."""
    program = shutil.which("cosign")
    if program is None:
        raise BuildError(
            "cosign is not there, which signs images",
            hint="install cosign, or leave out --sign",
        )
    return program


def arguments(image: str, *, key: str, insecure: bool) -> list[str]:
    """cosign's arguments for ``HOST/NAME@DIGEST``: with a ``key`` (a file or a KMS), else by who runs it (keyless)."""
    options = ["--key", key] if key else []
    if insecure:
        options += ["--allow-insecure-registry", "--allow-http-registry"]
    return ["sign", "--yes", *options, image]


def sign(image: str, *, key: str, insecure: bool) -> None:
    """Sign ``HOST/NAME@DIGEST`` in its registry; cosign speaks on this terminal. BuildError where it fails."""
    done = subprocess.run([check(), *arguments(image, key=key, insecure=insecure)], check=False)
    if done.returncode != 0:
        raise BuildError(
            f"cosign ended with status {done.returncode}",
            where=image,
            hint="the image is pushed and not signed: run `cosign sign` by hand",
        )
