"""One request and one state of the repositories give one manifest digest, whoever builds, where, when and with what."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import builder
from builder import engines
from builder.build_image import ensure
from tests.integration import engine_cases
from tests.integration.command import Command, script, write_element

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("debian-minimal six times over; `just test` compares small trees of all engines"),
]

ROOT = Path(builder.__file__).parents[1]
ASKED = ("-p", "hello", "debian-minimal", "tricky")
DAY = 25 * 3600


def tricky(folder: Path) -> Path:
    """An element whose scripts write what tends to differ: times, names of this machine, folders, links, many files."""
    files = {f"static/srv/static-{number}": f"{number}\n" for number in range(40)}
    return write_element(
        folder,
        "tricky",
        {
            **files,
            "element-deps": "install-static\n",
            "image-config.yaml": "env: {B: '2', A: '1'}\nports: [443, 80]\nlabels: {z: '1', a: '2'}\n",
            "install.d/50-tricky": script(
                "umask > /etc/umask",
                "uname -n > /etc/hostname-of-build; nproc > /dev/null",
                "{ date -d @0; sort <<< $'b\\nA\\na'; } > /etc/locale-of-build",
                'echo "${TZ-unset} ${LANG-unset} $HOME $(id -u) $(pwd)" > /etc/environment-of-build',
                "mkdir -p /srv/deep; for name in z y x c b a; do echo $name > /srv/deep/$name; done",
                "ln /srv/deep/a /srv/deep/hard; ln -s a /srv/deep/soft; touch -d 2001-02-03 /srv/deep/b",
                "chmod 4750 /srv/deep/c; chown 12:34 /srv/deep/x",
                "mkfifo /srv/deep/pipe; ls -U /srv/deep | wc -l > /srv/deep-count",
            ),
        },
    )


def digest(command: Command, *more: str, variables: dict[str, str] | None = None) -> str:
    """Build and return the image's digest, which must be that of the file on the disk."""
    outcome = command.build(*more, *ASKED, variables=variables)
    manifest = subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{command.destination}/debian-minimal.oci"])
    assert outcome.digest() == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    return outcome.digest()


@pytest.fixture(scope="module")
def elements(open_folder: Path) -> Path:
    return tricky(open_folder / "reproducible elements").parent


@pytest.fixture(scope="module")
def first(open_folder: Path, elements: Path) -> Iterator[tuple[Command, str]]:
    """The first build, cold, as whoever runs the tests."""
    folder = open_folder / "reproducible"
    folder.mkdir()
    command = Command("host", folder / "store", folder / "out", (elements,))
    yield command, digest(command)
    if os.geteuid() != 0:
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", command.store], check=False)


@contextlib.contextmanager
def tomorrow() -> Iterator[None]:
    """Set the machine's clock forward by more than a day: only where the machine is the tests' own."""
    if os.geteuid() != 0 or os.environ.get("DIB_CTR_TEST_ALL_ENGINES") != "1":
        warnings.warn("the day is the same: only continuous integration sets its clock", stacklevel=1)
        yield
        return
    before, started = time.clock_gettime(time.CLOCK_REALTIME), time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, before + DAY)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, before + time.monotonic() - started)


@pytest.fixture
def memory_folder(place: Path) -> Iterator[Path]:
    """A folder on another file system (root's tests: a tmpfs), which lists its files in another order."""
    folder = place / "memory, with a space"
    folder.mkdir()
    if os.geteuid() != 0:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=2g", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def as_other(user: pwd.struct_passwd, command: list[str], folder: Path, variables: dict[str, str]) -> str:
    """Run the command as this user under another host name, umask, time zone, locale, folder, number of processors."""
    words = ["taskset", "--cpu-list", "0", *command]
    if os.geteuid() == 0:
        change = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
        quoted = 'hostname another-host; umask 077; exec "$@"'
        words = ["unshare", "--uts", "sh", "-c", quoted, "sh", *change, *words]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "TZ": "Pacific/Kiritimati",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "XDG_CACHE_HOME": str(folder / "cache"),
        **variables,
    }
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_another_user_place_file_system_and_day_give_the_same_digest(
    first: tuple[Command, str], other_user: pwd.struct_passwd, memory_folder: Path, open_folder: Path
) -> None:
    here = memory_folder / "another" / "deeper place"
    here.mkdir(parents=True)
    tricky(here / "elements")
    variables = engine_cases.open_copy(here / "open")
    for path in (memory_folder, *memory_folder.rglob("*")):
        os.chown(path, other_user.pw_uid, other_user.pw_gid, follow_symlinks=False)
    command = Command("host", here / "store", here / "out", (here / "elements",))
    arguments = ["/usr/bin/python3", *command.arguments("build", *ASKED)[1:]]
    with tomorrow():
        as_other(other_user, arguments, here, variables)
    manifest = subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{here}/out/debian-minimal.oci"])
    reference = subprocess.check_output(
        ["skopeo", "inspect", "--raw", f"oci:{first[0].destination}/debian-minimal.oci"]
    )
    assert manifest == reference


def test_half_a_cache_gives_the_same_digest(first: tuple[Command, str]) -> None:
    command, expected = first
    if os.geteuid() != 0:
        pytest.skip("what is in a store belongs to subordinate ids")
    outcome = command("plan", "--json", *ASKED)
    keys = [stage["key"] for stage in json.loads(outcome.stdout)]
    for key in keys[len(keys) // 2 :]:
        (command.store / "keys" / f"{key}.json").unlink()
    shutil.rmtree(command.store / "outputs")
    assert digest(command) == expected
    shutil.rmtree(command.store / "outputs")
    shutil.rmtree(command.store / "blocks")
    assert digest(command, "--no-cache") == expected


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_each_engine_gives_the_same_digest(
    name: str,
    first: tuple[Command, str],
    elements: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    build_archive: Callable[[], Path],
) -> None:
    if shutil.which(name) is None:
        engine_cases.missing(f"there is no {name}")
    if name == "docker":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("docker_address"))
    monkeypatch.setenv("DIB_CTR_STORE", f"dib-ctr-test-{os.getpid()}")
    engine = engines.select(name)
    image = ensure.reference()
    if not engine.has_image(image):
        engine_cases.give_image(engine, str(build_archive()), image)
    try:
        assert digest(Command(name, place / "store", place / "out", (elements,))) == first[1]
    finally:
        engine.remove_store()


def test_the_date_can_be_given(first: tuple[Command, str], place: Path, elements: Path) -> None:
    command = Command("host", first[0].store, place / "out", (elements,))
    given = digest(command, variables={"SOURCE_DATE_EPOCH": "1000000000"})
    assert given != first[1]
    shown = subprocess.check_output(["skopeo", "inspect", f"oci:{place}/out/debian-minimal.oci"], text=True)
    assert '"Created": "2001-09-09T01:46:40Z"' in shown
