"""Engines: the ways to run a build container. ``select`` finds one that works here."""

from __future__ import annotations

import time
from collections.abc import Callable

from blockdev.core.errors import BuildError, UsageError
from builder.engines import remote_address
from builder.engines.protocol import Engine, StoreError
from builder.host_state import probe_results


def _podman() -> Engine:
    from builder.engines.podman import Podman

    return Podman()


def _docker() -> Engine:
    from builder.engines.docker import Docker

    return Docker()


def _podman_socket() -> Engine:
    from builder.engines.podman_socket import PodmanSocket

    return PodmanSocket()


def _docker_socket() -> Engine:
    from builder.engines.docker_socket import DockerSocket

    return DockerSocket()


def _host() -> Engine:
    from builder.engines.host import Host

    return Host()


# In the order in which "auto" tries them; each module is loaded only when it is its turn.
ADAPTERS: dict[str, Callable[[], Engine]] = {
    "podman": _podman,
    "docker": _docker,
    "podman-socket": _podman_socket,
    "docker-socket": _docker_socket,
    "host": _host,
}
AUTO = "auto"
AGAIN = 3600.0  # seconds after which those before the engine that worked are tried again: a busy machine is no reason


def make(name: str) -> Engine:
    """The adapter of this name, not yet probed; raises UsageError for an unknown one."""
    try:
        return ADAPTERS[name]()
    except KeyError:
        raise UsageError(f"there is no engine {name}", hint=f"one of: {AUTO}, {', '.join(ADAPTERS)}") from None


def select(name: str = AUTO, host: str = "") -> Engine:
    """The engine of this name, or with "auto" the first that really works; raises BuildError saying why none does.

    ``host`` is where it is to be, by its own way of saying so (``builder.engines.remote_address``).
    What works is remembered: a second call costs no call of an engine (``dib-ctr doctor`` tries anew).
    """
    remote_address.use(name, host)
    if name != AUTO:
        engine = make(name)
        engine.probe()
        return engine
    last = _last()
    reasons: list[str] = []
    for candidate in sorted(ADAPTERS, key=lambda adapter: adapter != last):
        engine = make(candidate)
        try:
            engine.probe()
        except StoreError:
            raise
        except BuildError as error:
            reasons.append(f"{candidate}: {error.what}")
            continue
        if candidate != last:
            probe_results.remember(AUTO, probe_results.stamp(), {"name": candidate, "since": time.time()})
        return engine
    raise BuildError(
        "no engine works here:\n  " + "\n  ".join(reasons),
        hint="dib-ctr doctor says what mends each; the least is: sudo apt-get install podman uidmap",
    )


def _last() -> str | None:
    """What "auto" found, while that holds."""
    record = probe_results.recall(AUTO, probe_results.stamp())
    if not isinstance(record, dict):
        return None
    is_first = record["name"] == next(iter(ADAPTERS))
    return str(record["name"]) if is_first or 0 <= time.time() - record["since"] < AGAIN else None
