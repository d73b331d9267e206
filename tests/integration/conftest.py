"""Fixtures: every engine that this machine can have, with a store and a memory that are the tests' own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from builder.build_image import ensure
from tests.integration import engine_cases
from tests.integration.engine_cases import Case, missing
from tests.integration.synthetic import require_root
from tests.mirrors import rpm, small
from tests.mirrors.debian import DebianTree, bootstrap


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="dib-ctr-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _shared(name: str) -> Iterator[Path]:
    """Where something lies that is made once for all processes that run tests; they come here one by one."""
    folder = Path(os.environ["DIB_CTR_TEST_SHARED"])
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / name


def _debian_tree(name: str, packages: Iterable[str]) -> DebianTree:
    """A Debian tree that synthetic mirrors are made of: one for all processes that run tests."""
    require_root()
    with _shared(name) as folder:
        return bootstrap(folder, packages)


@pytest.fixture(scope="session")
def rpm_tree() -> DebianTree:
    """What RPM mirrors with a kernel and boot loaders are made of."""
    return _debian_tree("rpm", rpm.packages())


@pytest.fixture(scope="session")
def small_tree() -> DebianTree:
    """What small mirrors are made of: for containers."""
    return _debian_tree("small", small.PACKAGES)


@pytest.fixture(scope="session")
def debian_store(open_folder: Path) -> Iterator[Path]:
    """A store of the host engine for builds of debian-minimal: what they share is made once for all processes."""
    if os.geteuid() != 0:  # what is in it belongs to subordinate ids, so each process removes its own
        folder = open_folder / "debian-store"
        yield folder
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", folder], check=False)
        return
    with _shared("debian-store") as folder:
        pass
    yield folder


@pytest.fixture
def small_disk(place: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system, by options of tmpfs(5) (``size=40m``); its options, anew, change it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    folder = place / "small"

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if folder.exists() else ["-o", f"mode=755,{options}"]
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", *again, "tmpfs", str(folder)], check=True)
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that a build's root may enter, for one test's store, elements and outputs."""
    folder = Path(tempfile.mkdtemp(prefix="dib-ctr-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    if os.geteuid() != 0:  # what is in a store belongs to subordinate ids
        mapped = ["unshare", "--user", "--map-root-user", "--map-auto"]
        subprocess.run([*mapped, "rm", "-rf", *map(str, folder.glob("store*"))], check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def other_user() -> Iterator[pwd.struct_passwd]:
    """An ordinary user: a fresh one where root runs the tests, else the caller."""
    if os.getuid() != 0:
        yield pwd.getpwuid(os.getuid())
        return
    with engine_cases.ordinary_user() as user:
        yield user


@pytest.fixture(scope="session")
def build_archive() -> Callable[[], Path]:
    """Makes the build image's root file system at the first call of all processes that run tests."""

    def make() -> Path:
        with _shared("build-image.tar") as archive:
            engine_cases.build_archive(archive)
            return archive

    return make


@pytest.fixture(scope="session")
def docker_address(open_folder: Path) -> Iterator[str]:
    """A docker daemon: the caller's ($DOCKER_HOST), or one of the tests' own."""
    if given := os.environ.get("DOCKER_HOST"):
        yield given
        return
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        missing("there is no dockerd to start (as root: tests/setup-daemons.sh), and DOCKER_HOST names none")
    folder = open_folder / "docker-daemon"
    folder.mkdir()
    with engine_cases.docker_daemon(folder) as address:
        yield address


@pytest.fixture(scope="session")
def open_code() -> dict[str, str]:
    """The variables of a copy of the code that every user can run."""
    with _shared("open-code") as folder:
        return engine_cases.open_copy(folder)


def _user(name: str, request: pytest.FixtureRequest) -> pwd.struct_passwd:
    if name.endswith("-user"):
        user: pwd.struct_passwd = request.getfixturevalue("other_user")
        return user
    if name.endswith("-root") and os.getuid() != 0:
        missing("only root can test what root does")
    return pwd.getpwuid(os.getuid())


MORE_CASES = [
    pytest.param(
        name, marks=pytest.mark.thorough("another way to an engine, or another user: all tests of engines again")
    )
    for name in engine_cases.MORE_CASES
]


@pytest.fixture(scope="session", params=[*engine_cases.CASES, *MORE_CASES])
def case(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[Case]:
    """One engine as one user, with a build image and an empty store."""
    name: str = request.param
    adapter = name.removesuffix("-root").removesuffix("-user")
    if (command := adapter.removesuffix("-socket")) in ("podman", "docker") and shutil.which(command) is None:
        missing(f"there is no {command}")
    user = _user(name, request)
    folder = open_folder / name
    folder.mkdir(exist_ok=True)  # (another file's tests may have had the same case before)
    os.chown(folder, user.pw_uid, user.pw_gid)
    environment = {"XDG_CACHE_HOME": str(folder / "cache"), "DIB_CTR_STORE": engine_cases.VOLUME}
    if adapter == "host":
        environment["DIB_CTR_STORE"] = str(folder / "store")
    if adapter.startswith("docker"):
        environment["DOCKER_HOST"] = request.getfixturevalue("docker_address")
    engine_cases.preload()
    with contextlib.ExitStack() as stack:
        if adapter == "podman-socket":
            environment["CONTAINER_HOST"] = stack.enter_context(engine_cases.podman_service(folder, user))
        yield from _ready(Case(name, adapter, ensure.reference(), user, environment), request)


def _ready(made: Case, request: pytest.FixtureRequest) -> Iterator[Case]:
    image = made.image
    if not made.call(lambda engine: engine.has_image(image)):
        made.call(engine_cases.give_image, str(request.getfixturevalue("build_archive")()), image)
    made.call(lambda engine: engine.remove_store())
    yield made
    made.call(lambda engine: engine.remove_store())
