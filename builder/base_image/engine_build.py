"""Building a Containerfile with podman or docker, on images that were fetched and checked here.

podman runs in a user namespace: no step has the host's root, whoever builds. Its images come from a folder, so that it
asks no registry and needs no credentials. docker's daemon pulls by digest itself, and runs the steps as it always does.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blockdev.core import tools
from blockdev.core.errors import BuildError
from builder.base_image.recipe import DOCKER, Recipe
from builder.engines.command_engine import last_line
from builder.engines.host import Host
from builder.engines.leftovers import scratch_folder
from builder.engines.podman import claim_state_folder, own_storage
from builder.engines.protocol import EngineError
from builder.engines.subordinate_ids import closed_folder, root_range
from builder.host_state.probe_results import cache_folder
from stages.outputs.formats.oci_image import platform

LINES = 12  # of what a failed build said are shown
BASE = "localhost/dib-ctr-base"
NO_OVERLAY = re.compile(r"driver not supported|graph ?driver|does not support overlay|mounting overlay", re.IGNORECASE)
ROOTS_OWN = Path("/var/lib/dib-ctr")  # what root keeps for a user namespace's root, whom /root is closed to

Fetch = Callable[[str, Path], None]


def build(recipe: Recipe, texts: Mapping[str, str], arch: str, epoch: int, fetch: Fetch, target: Path) -> None:
    """Build the recipe for an architecture (Debian's name) and write the image to ``target``.

    That is an archive: OCI's, from docker docker's own. ``texts`` are the Containerfile's texts by what its images are
    called in it, ``podman`` (:func:`local`) and ``docker``. ``fetch`` makes an OCI layout of the image whose
    digest begins so at a place. ``epoch`` is the time of what podman writes. Raises BuildError with what was said last.
    """
    with scratch_folder("dib-ctr-containerfile-", _roomy()) as work:
        try:
            recipe.context.copy(work / "context")
        except OSError as error:
            what = f"what the Containerfile copies cannot be read: {error}"
            raise BuildError(
                what, where=str(recipe.context.root), hint="let it stand still while it is built"
            ) from error
        (work / "Containerfile").write_text(texts[recipe.runtime], encoding="utf-8")
        name = f"localhost/dib-ctr-containerfile:{secrets.token_hex(8)}"
        command = _build(recipe, arch, name, work)
        if recipe.runtime == DOCKER:
            _docker(recipe, command, name, target)
        else:
            _podman(recipe, [*command, f"--timestamp={epoch}"], name, work, fetch, target)


def local(digest: str) -> str:
    """What the image of a manifest's digest is called in podman's storage."""
    return f"{BASE}:{digest.removeprefix('sha256:')[:32]}"


def _build(recipe: Recipe, arch: str, name: str, work: Path) -> list[str]:
    target_platform = "/".join(filter(None, ("linux", *platform(arch))))
    options = [f"--network={recipe.network}", f"--platform={target_platform}", *recipe.options]
    return ["build", *options, "-t", name, "-f", str(work / "Containerfile")]


def _roomy() -> str | None:
    """A folder for an image: /tmp is often memory, and a user namespace has its own."""
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else None


# -- docker ------------------------------------------------------------------------------------------------------------


def _docker(recipe: Recipe, command: list[str], name: str, target: Path) -> None:
    folder = str(Path(command[-1]).with_name("context"))
    try:
        _run(recipe, [DOCKER, *command, folder])
        _run(recipe, [DOCKER, "save", "-o", str(target), name])
    finally:
        tools.run([DOCKER, "rmi", "--no-prune", name])


def _run(recipe: Recipe, command: list[str]) -> None:
    done = tools.run(command, together=True)
    if done.status != 0:
        raise _failed(recipe, done.text)


def _failed(recipe: Recipe, output: str) -> BuildError:
    lines = "\n  | ".join([line for line in output.strip().splitlines() if line.strip()][-LINES:])
    hint = f"correct the Containerfile; it is built with {recipe.runtime}"
    return BuildError(f"the Containerfile could not be built\n  | {lines}", where=str(recipe.file), hint=hint)


# -- podman ------------------------------------------------------------------------------------------------------------


def _podman(recipe: Recipe, command: list[str], name: str, work: Path, fetch: Fetch, target: Path) -> None:
    storage = _storage()
    last: BuildError | None = None
    for driver in ("overlay", "vfs"):  # vfs copies each layer, and works everywhere
        inside = _Podman(recipe, driver, storage, work)
        try:
            inside.take_images(fetch)
            inside.make(
                [*command, "--isolation=chroot", "--layers", "--pull=never", str(work / "context")], name, target
            )
        except EngineError as error:
            last = _failed(recipe, error.text)
            if driver != "vfs" and NO_OVERLAY.search(error.text):
                continue
            raise last from error
        return
    assert last is not None
    raise last


def _storage() -> Path:
    """Where podman keeps its layers, so that a step is not run twice: a folder that the namespace's root may enter."""
    storage = cache_folder() / "containerfiles"
    if os.getuid() == 0:  # whose own folders are closed to the namespace's root
        caches = storage.parents[1]
        beside = closed_folder(caches) is None
        storage = caches / "dib-ctr-containerfiles" if beside else ROOTS_OWN / "containerfiles"
        if not beside:
            ROOTS_OWN.mkdir(parents=True, exist_ok=True)
            ROOTS_OWN.chmod(0o755)  # whatever the umask says
    storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.getuid() == 0:
        os.chown(storage, root_range()[0], root_range()[0])
    return storage


def _months() -> tuple[str, str]:
    """This month and the last one, as names of podman's storage end: steps' results are kept so long."""
    first = datetime.now(UTC).date().replace(day=1)
    return f"{first:%Y-%m}", f"{first - timedelta(days=1):%Y-%m}"


class _Podman:
    """podman with a storage of its own: root's in a user namespace, an ordinary user's in the one it opens itself."""

    def __init__(self, recipe: Recipe, driver: str, storage: Path, work: Path) -> None:
        self._recipe, self._work, self._storage_folder = recipe, work, storage
        self._nested = os.getuid() == 0
        root = storage / f"{driver}-{_months()[0]}"
        options: tuple[str, ...]
        if self._nested:
            options = ("--storage-driver", driver, "--root", str(root), "--runroot", "/tmp/run")
            options += ("--tmpdir", "/tmp/tmp", "--cgroup-manager=cgroupfs", "--events-backend=none")
        else:
            claim_state_folder()
            options = own_storage(driver, root)
        self._podman = shlex.join(["podman", "--remote=false", *options])

    def take_images(self, fetch: Fetch) -> None:
        """Have all images of the Containerfile in the storage."""
        text = (self._work / "Containerfile").read_text(encoding="utf-8")
        names = sorted(
            {word for word in text.replace("=", " ").replace(",", " ").split() if word.startswith(f"{BASE}:")}
        )
        ask = [f"{self._podman} image exists {name} || echo {name}" for name in names]
        lines = []
        for name in self._output_of("\n".join(ask)).split() if names else []:
            start = name.rpartition(":")[2]
            fetch(start, self._work / start)
            lines.append(f"{self._podman} tag $({self._podman} pull -q oci:{start}) {name}")
        if lines:  # podman makes an image's name of the path, and not every path can be one
            self._output_of("\n".join((f"cd {shlex.quote(str(self._work))}", *lines)))

    def make(self, command: list[str], name: str, target: Path) -> None:
        """Build, and write the image to ``target``; what was kept in earlier months is removed."""
        steps = (
            *self._tidy(),
            f"{self._podman} {shlex.join(command)} >&2",
            f"{self._podman} save -q --format=oci-archive -o {self._work}/image.tar {name} >&2",
            f"{self._podman} untag {name} >&2",
            f"cat {self._work}/image.tar",
        )
        with target.open("wb") as output:
            self._run("\n".join(steps), output.fileno())

    def _tidy(self) -> list[str]:
        stale = [path for path in self._storage_folder.iterdir() if not path.name.endswith(_months())]
        enter = [] if self._nested else ["podman", "unshare"]  # layers belong to the namespace's users
        return [shlex.join([*enter, "rm", "-rf", *map(str, stale)])] if stale else []

    def _output_of(self, script: str) -> str:
        with tempfile.TemporaryFile() as output:
            self._run(script, output.fileno())
            output.seek(0)
            return output.read().decode()

    def _run(self, script: str, output: int) -> None:
        if self._nested:
            self._give(self._work)
            # podman's locks are shared memory: root's own may not be touched.
            script = f"mount -t tmpfs tmpfs /dev/shm\n{script}"
            Host().make_archive(("bash", "-euc", script), {}, output)
            return
        done = tools.run(["bash", "-euc", script], stdout=output, cwd=Path("/"))
        if done.status != 0:
            raise EngineError("podman", f"podman failed: {last_line(done.errors)}", done.errors)

    @staticmethod
    def _give(folder: Path) -> None:
        """Make the folder and all in it the property of the namespace's root."""
        owner = root_range()[0]
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, owner, owner)
