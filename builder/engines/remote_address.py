"""Engines on other machines, by podman's and docker's own connections: addresses, and names of connections or contexts.

``--host`` sets the very variables that their command lines heed, so that all that they honour is honoured here.
"""

from __future__ import annotations

import os
import platform

from blockdev.core.errors import UsageError
from builder.engines.protocol import EngineError
from qemu.architecture import canonical

# Of each engine: the variables for an address and for a name.
_VARIABLES = {
    "docker": ("DOCKER_HOST", "DOCKER_CONTEXT"),
    "docker-socket": ("DOCKER_HOST", ""),
    "podman": ("CONTAINER_HOST", "CONTAINER_CONNECTION"),
    "podman-socket": ("CONTAINER_HOST", ""),
}
_SCHEMES = ("unix", "tcp", "ssh", "http", "npipe")
SOCKET_SCHEMES = ("unix", "http+unix", "tcp", "http")  # what the engines on sockets connect to themselves


def use(engine: str, host: str) -> None:
    """Have the engine of this name talk to ``host``, an address or a name; UsageError where it cannot."""
    if not host:
        return
    if engine not in _VARIABLES:
        raise UsageError(
            f"--host names where an engine is, and the engine {engine} is not told where",
            hint=f"--engine {' or '.join(_VARIABLES)}",
        )
    address, name = _VARIABLES[engine]
    scheme = host.partition("://")[0] if "://" in host else ""
    if scheme and scheme not in _SCHEMES:
        raise UsageError(f"--host {host}: there is no {scheme}://", hint=f"one of {', '.join(_SCHEMES)}, or a name")
    if scheme:
        os.environ[address] = host
        os.environ.pop(name, None)
        return
    if not name:
        what = f"--host {host}: the engine {engine} takes an address"
        raise UsageError(what, hint=f"unix:// or tcp://; --engine {engine.removesuffix('-socket')} knows names too")
    os.environ[name] = host
    os.environ.pop(address, None)


def podman_address() -> str:
    """Where podman's command line goes by its variables: an address or a connection's name; empty: to this machine."""
    return os.environ.get("CONTAINER_HOST", "") or os.environ.get("CONTAINER_CONNECTION", "")


def podman_options() -> tuple[str, ...]:
    """What tells podman's command line so outright: 4.3 goes elsewhere without a word where it knows no such name."""
    address, name = (os.environ.get(variable, "") for variable in _VARIABLES["podman"])
    if address:
        return ("--remote", "--url", address)
    return ("--remote", "--connection", name) if name else ("--remote=false",)


def check_architecture(engine: str, architecture: str) -> None:
    """Raise EngineError where the machine behind an engine is of another architecture than this one.

    What runs there is made here: the trial, build images from a mirror, keys.
    """
    there, here = canonical(architecture) or architecture, canonical(platform.machine()) or platform.machine()
    if there != here:
        raise EngineError(
            engine,
            f"the machine behind it is of the architecture {there}, this one of {here}",
            "architecture",
            hint=f"run dib-ctr on a machine of {there}; or --arch {there} here, which needs no other machine",
        )


def check_socket(engine: str, address: str) -> None:
    """Raise EngineError for an address that an engine on sockets does not connect to itself."""
    if address and address.partition("://")[0] not in SOCKET_SCHEMES:
        command = engine.removesuffix("-socket")
        what = f"{address} is no address for it: it knows unix:// and tcp://"
        raise EngineError(engine, what, "address", hint=f"--engine {command}, whose command line knows ssh:// too")
    if address.startswith("tcp") and os.environ.get("DOCKER_TLS_VERIFY") and engine == "docker-socket":
        raise EngineError(engine, "it speaks no TLS, and DOCKER_TLS_VERIFY asks for it", "TLS", hint="--engine docker")
