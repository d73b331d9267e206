"""podman's command line: rootless, and as root with a range of ids of its own."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blockdev.core import tools
from builder.engines import block_devices, leftovers, probe_container, rights
from builder.engines.command_engine import CommandLineEngine, last_line
from builder.engines.protocol import STORE, Container, EngineError
from builder.engines.remote_address import check_architecture, podman_address, podman_options
from builder.engines.subordinate_ids import FIRST, root_range
from builder.host_state import probe_results
from stages.sandbox.user_namespace import IDS

# The masks and filters would keep stages from mounting.
RIGHTS = (
    *rights.options(mapped=True),
    "--security-opt=seccomp=unconfined",
    "--security-opt=unmask=ALL",
    "--security-opt=label=disable",
)
MOST = {"nofile": 1 << 20, "nproc": 1 << 15}  # the kernel's ceiling for open files; what podman leaves of processes


# The whole of a container's files, and nothing that is mounted there. tar's status 1: /sys changed while it was read.
WRITE_OUT = (
    "tar --one-file-system --numeric-owner --xattrs --xattrs-include=security.capability -C / -cf - . || [[ $? == 1 ]]"
)


def steps(containerfile: Path) -> str:
    """What the RUN lines of a Containerfile do, as one script."""
    text = containerfile.read_text().replace("\\\n", " ")
    return "\n".join(line.removeprefix("RUN ") for line in text.splitlines() if line.startswith("RUN "))


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found: options before the command, options of ``run``, and whether podman runs as root."""

    general: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    root: bool = False


def own_storage(driver: str = "overlay", root: Path | None = None) -> tuple[str, ...]:
    """Options for a storage of our own, with overlay: a container starts five times as fast as on vfs.

    State goes with the machine's run: podman must see at the first start after a reboot that nothing runs any more.
    """
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    state = _state_folder() / "dib-ctr"
    return (
        *("--storage-driver", driver, "--root", str(root or data / "dib-ctr/containers")),
        *("--runroot", str(state / "run"), "--tmpdir", str(state / "tmp")),
    )


def _state_folder() -> Path:
    """A folder that a restart of the machine empties or renames."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/dib-ctr-{os.getuid()}-{_boot()}")


def claim_state_folder() -> None:
    """In /tmp anybody could have made it: it must be ours and closed to others."""
    folder = _state_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != os.getuid() or not stat.S_ISDIR(state.st_mode) or state.st_mode & 0o022:
        raise EngineError("podman", f"{folder} is not yours alone", "", hint="set XDG_RUNTIME_DIR to a folder of yours")


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]


def limits() -> tuple[tuple[str, int, int], ...]:
    """The caller's limits (name, soft, hard), to say outright where podman's higher defaults are refused.

    They are without CAP_SYS_RESOURCE.
    """
    result: list[tuple[str, int, int]] = []
    for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        soft, hard = (min(value, MOST[name]) if value >= 0 else MOST[name] for value in resource.getrlimit(kind))
        result.append((name, soft, hard))
    return tuple(result)


def stamp() -> str:
    """Changes with anything that a probe's result hangs on."""
    programs = [program for name in ("podman", "runc", "crun") if (program := shutil.which(name))]
    folders = (Path("/etc/containers"), Path.home() / ".config/containers")
    files = [folder / name for folder in folders for name in ("storage.conf", "containers.conf")]
    state = probe_results.stamp(*programs, *files, "/etc/subuid", "/etc/subgid") + " ".join(own_storage())
    return f"{state} at={podman_address()}"


class Podman(CommandLineEngine):
    """podman as a command."""

    name = "podman"

    def __init__(self) -> None:
        self.address = podman_address()
        super().__init__(("podman", *podman_options()))
        self.probe_result = ProbeResult(root=os.getuid() == 0)

    def use(self, result: ProbeResult) -> None:
        """Take what a probe found."""
        self.probe_result = result
        self.client = (*self.plain, *result.general)

    def options(self, container: Container) -> list[str]:
        """See CommandLineEngine."""
        network = "--network=host" if container.network else "--network=none"
        if container.privileged:
            return [network, *block_devices.options(container), *self.probe_result.run]
        return [network, *RIGHTS, *self._processes(), *self.probe_result.run, *self._ids()]

    def _processes(self) -> list[str]:
        """podman's own bound of 2048 processes lifted, where it has one: ``stages.sandbox.limits`` says how many."""
        bounded = self.probe_result.root or Path("/sys/fs/cgroup/cgroup.controllers").exists()
        return ["--pids-limit=-1"] if bounded and not self.address else []

    def _ids(self) -> list[str]:
        if not self.probe_result.root:
            return []
        first, count = (FIRST, IDS) if self.address else root_range()  # this machine's files say nothing of another's
        return [f"--uidmap=0:{first}:{count}", f"--gidmap=0:{first}:{count}"]

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """See Engine.

        The recipe's steps run in a container of ours, whose files are then imported. `podman build` would run them as
        root of the host where root starts it, what it or `podman commit` (4.3) makes of a user namespace has shifted
        owners, and it leaves containers and mounts behind when it is killed.
        """
        self.pull(arguments["BASE"])
        settings = [f"{key}={shlex.quote(value)}" for key, value in arguments.items()]
        script = "\n".join([*settings, "{", steps(folder / file), "} >&2", WRITE_OUT])
        with leftovers.scratch_file("dib-ctr-image-", ".tar") as archive:
            with archive.open("wb") as output, self._container() as life:
                options = ["--rm", "--name", life.name, "--network=host", *self.probe_result.run, *self._ids()]
                command = [*self.client, "run", *options, arguments["BASE"], "bash", "-euc", script]
                done = tools.run(command, stdout=output)
                life.ended = done.status == 0
            if done.status != 0:
                raise EngineError(self.name, f"build {reference}: {last_line(done.errors)}", done.errors)
            self.import_image(archive, reference)

    def probe(self) -> None:
        """See Engine."""
        if shutil.which("podman") is None:
            hint = "sudo apt-get install podman"
            raise EngineError(self.name, "podman is not there", "podman: not found", hint=hint)
        record = probe_results.recall(self.name, stamp())
        if record is not None:
            self.use(ProbeResult(tuple(record["general"]), tuple(record["run"]), record["root"]))
            return
        self._try_all()
        probe_results.remember(self.name, stamp(), asdict(self.probe_result))

    def _info(self) -> dict[str, Any]:
        done = tools.run([*self.plain, "info", "--format", "{{json .}}"])
        if done.status != 0:
            what = "podman does not work"
            if self.address:
                what = f"no podman answers at {self.address}: {last_line(done.errors)}"
            raise EngineError(self.name, what, done.errors)
        info: dict[str, Any] = json.loads(done.out)
        return info

    def _storages(self, info: dict[str, Any]) -> list[tuple[str, ...]]:
        if info["store"]["graphDriverName"] != "vfs" or self.address:
            return [()]
        claim_state_folder()
        return [own_storage(), ()]

    def _candidates(self) -> Iterator[ProbeResult]:
        info = self._info()
        check_architecture(self.name, info["host"]["arch"])
        root = not info["host"]["security"]["rootless"]
        present = [] if self.address else [program for name in ("crun", "runc") if (program := shutil.which(name))]
        for storage in self._storages(info):
            for ulimits in ((), tuple(f"--ulimit={name}={soft}:{hard}" for name, soft, hard in limits())):
                yield ProbeResult(storage, ulimits, root)
                for runtime in present:
                    yield ProbeResult((*storage, "--runtime", runtime), ulimits, root)

    def _try_all(self) -> None:
        errors: list[str] = []
        with probe_container.archive() as archive:
            for candidate in self._candidates():
                self.use(candidate)
                if not self.has_image(probe_container.IMAGE):
                    self.import_image(archive, probe_container.IMAGE)
                done = self.try_container(Container(probe_container.IMAGE, probe_container.argv(STORE)))
                if probe_container.succeeded(self, done.errors) and done.status == 0:
                    probe_container.remove(self)
                    return
                errors.append(done.errors.strip())
        raise EngineError(self.name, f"no container runs here: {errors[0].splitlines()[-1]}", "\n".join(errors))
