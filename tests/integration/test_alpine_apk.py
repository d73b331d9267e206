"""alpine-minimal with a real apk, from a synthetic mirror: a container, the same bytes twice, and what apk refuses.

$DIB_CTR_TEST_APK names programs, blanks between: each an apk that is linked statically, as apk-tools-static has it.
No registry of packages that these tests use has one, so the tests are skipped where it names none.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stages.tree import package_database
from tests.integration.command import Command, Outcome, kept_packages, write_planting_element
from tests.integration.synthetic import in_tree, mirrors_folder
from tests.mirrors import alpine
from tests.mirrors.alpine import Properties
from tests.mirrors.apk import Key, sign_again
from tests.mirrors.debian import DebianTree, bootstrap
from tests.mirrors.serve import serve

APKS = os.environ.get("DIB_CTR_TEST_APK", "").split()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("a distribution's family takes a minute; it needs a real apk"),
    pytest.mark.skipif(not APKS, reason="DIB_CTR_TEST_APK names no statically linked apk"),
]
BOOTSTRAPPED = {"alpine-baselayout", "alpine-keys", "alpine-release", "apk-tools", "bash", "busybox", "musl", "tar"}
# What apk itself says of its own tree, without dib-ctr: version 3 makes /proc before the package that has its mode,
# and sets owners after modes.
MAY_DIFFER = {"m proc/", "m var/mail/"}


@dataclass(frozen=True)
class Alpine:
    """Builds from the synthetic mirror at ``address``, with a store of their own."""

    command: Command
    mirror: alpine.Mirror
    address: str

    def build(self, *arguments: str, status: int = 0) -> Outcome:
        """Run ``dib-ctr build``; fails where it ends with another status."""
        settings = {
            "DIB_DISTRIBUTION_MIRROR": self.address,
            "DIB_RELEASE": alpine.RELEASE,
            "DIB_ALPINE_KEYS": str(self.mirror.key.public),
        }
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outcome = self.command("build", *options, *arguments)
        assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


Make = Callable[..., AbstractContextManager[Alpine]]


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "alpine")


@pytest.fixture(scope="module")
def tree(folder: Path) -> DebianTree:
    return bootstrap(folder / "tree", alpine.PACKAGES)


@pytest.fixture(scope="module", params=APKS, ids=lambda path: alpine.version_of(Path(path)))
def apk(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def make(apk: Path, folder: Path, tree: DebianTree) -> Make:
    """Makes and serves a mirror that has this apk, with these properties."""
    key = Key(folder / "key").made()
    key.public.chmod(0o755)

    @contextmanager
    def served(properties: Properties | None = None) -> Iterator[Alpine]:
        place = folder / f"{apk.name}-{len(list(folder.iterdir()))}"
        place.mkdir()
        mirror = alpine.make(place / "mirror", tree, apk, key, properties)
        with serve(mirror.folder) as address:
            yield Alpine(Command("host", place / "store", place / "out", ()), mirror, address)
        shutil.rmtree(place)

    return served


@pytest.fixture(scope="module")
def plain(make: Make) -> Iterator[Alpine]:
    """The mirror as it is, for all tests that leave it so."""
    with make() as served:
        yield served


def check_apk_tree(tree: Path) -> set[str]:
    """What a user would look at: apk lists the packages that dib-ctr lists, and all their files are as packed.

    Returns the packages' names.
    """
    listed = set(in_tree(tree, "apk", "info").split())
    assert listed == {package.name for package in package_database.read(tree)}
    differs = set(in_tree(tree, "apk", "audit", "--system", "--check-permissions").splitlines())
    assert differs <= MAY_DIFFER
    assert re.search(f"^VERSION_ID={alpine.RELEASE[1:]}", in_tree(tree, "cat", "/etc/os-release"), re.MULTILINE)
    assert sorted(file.name for file in (tree / "etc/apk").iterdir()) == ["arch", "keys", "repositories", "world"]
    return listed


def test_a_container(plain: Alpine) -> None:
    """Scripts, triggers and users of packages; the finished tree can install one more package from the mirror."""
    plain.build("--output", "dir,slim=no", "-p", alpine.EXTRA, "--name", "plain", "alpine-minimal")
    tree = plain.command.destination / "plain.dir"
    listed = check_apk_tree(tree)
    assert listed >= {*BOOTSTRAPPED, alpine.EXTRA, alpine.MORE}
    called = (tree / "var/lib/extra-tool.calls").read_text().splitlines()
    assert called == [".pre-install 1.0-r0", ".post-install 1.0-r0", ".trigger /usr/share/extra-tool"]
    assert (tree / "var/lib/extra-tool/state").stat().st_uid == 777
    assert (tree / "usr/share/größe").is_file()
    assert (tree / "usr/bin/awk").readlink() == Path("/bin/busybox")
    assert (tree / "etc/apk/repositories").read_text().split() == [
        f"{plain.address}/{alpine.RELEASE}/{repository}" for repository in ("main", "community")
    ]
    assert [file.name for file in (tree / "etc/apk/keys").iterdir()] == [plain.mirror.key.name]
    assert "hostname" not in listed
    in_tree(tree, "apk", "--no-progress", "--update-cache", "add", "hostname")
    assert "hostname" in in_tree(tree, "apk", "info").split()


def test_the_same_bytes(plain: Alpine) -> None:
    ask = ("--output", "tar", "-p", alpine.EXTRA, "--name", "again", "alpine-minimal")
    first = plain.build(*ask).digest("tar")
    assert plain.build("--no-cache", *ask).digest("tar") == first


def test_a_changed_package_in_the_cache_is_for_no_other_build(plain: Alpine, tmp_path: Path) -> None:
    write_planting_element(tmp_path, "/var/cache/apk")
    own = replace(plain, command=replace(plain.command, elements=(tmp_path,)))
    own.build("--output", "tar", "-p", alpine.EXTRA, "--name", "planted", "alpine-minimal", "planting")
    kept = kept_packages(plain.command.store, "apk")
    assert any(name.startswith(f"{alpine.EXTRA}-") for name in kept)
    assert all(kept.values())


def test_merged_folders(make: Make, apk: Path) -> None:
    if alpine.version_of(apk).startswith("2."):
        pytest.skip("apk 2 makes /lib itself, before a package can bring a link: no release has this with it")
    with make(Properties(merged=True)) as merged:
        merged.build("--output", "dir,slim=no", "-p", alpine.EXTRA, "--name", "merged", "alpine-minimal")
        tree = merged.command.destination / "merged.dir"
        assert (tree / "sbin").readlink() == Path("usr/sbin")
        assert check_apk_tree(tree) >= {*BOOTSTRAPPED, alpine.EXTRA}


def test_packages_without_folders_are_refused_by_apk(make: Make) -> None:
    """Which is what the real one refuses: without entries of its folders no package of the mirror could be used."""
    with make(Properties(directories=False)) as without:
        failed = without.build("--output", "tar", "--name", "without", "alpine-minimal", status=1)
        assert "no dirent in archive" in failed.stderr
        assert "08-apk" in failed.stderr


def test_scripts_find_what_busybox_s_trigger_makes(make: Make) -> None:
    """Without these links the tree has no awk, as the real one would not."""
    with make(Properties(links=False)) as without:
        without.build("--output", "dir,slim=no", "--name", "without", "alpine-minimal")
        assert not (without.command.destination / "without.dir/usr/bin/awk").exists()


@pytest.mark.parametrize("what", ["package", "index"])
def test_what_is_signed_by_nobody_known_is_refused(make: Make, tmp_path: Path, what: str) -> None:
    """A package that differs from the signed index; the index of a repository that a key of nobody's signed."""
    with make() as served:
        if what == "package":
            (package,) = served.mirror.main.glob("bash-[0-9]*.apk")
            changed = bytearray(package.read_bytes())
            changed[-4000] ^= 0xFF
            package.write_bytes(changed)
            ask: tuple[str, ...] = ()
        else:
            other = Key(tmp_path / "other", name="somebody-00000002.rsa.pub").made()
            sign_again(served.mirror.community / "APKINDEX.tar.gz", other)
            ask = ("-p", alpine.EXTRA)
        failed = served.build("--output", "dir", "--name", "refused", *ask, "alpine-minimal", status=1)
        said = {"package": "does not match its index", "index": "signed with a key that the build does not know"}
        assert said[what] in failed.stderr
        assert not (served.command.destination / "refused.dir").exists()
