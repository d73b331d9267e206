"""Fedora and CentOS Stream from a synthetic mirror: containers, a machine that boots, and the same bytes twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from builder.engines import select
from tests.integration.command import has, kept_packages, write_planting_element
from tests.integration.engine_cases import missing
from tests.integration.rpm_observations import OBSERVATIONS, Finished
from tests.integration.synthetic import (
    EXTRA,
    Synthetic,
    check_rpm_tree,
    install_one_more,
    login,
    mirrors_folder,
    synthetic,
)
from tests.mirrors import rpm, rpmproperties
from tests.mirrors.debian import DebianTree
from tests.mirrors.farm import Copy, Farm, serving
from tests.mirrors.keys import Key
from tests.mirrors.rpmv6 import sign_as_v6

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "fedora")


@pytest.fixture(scope="module")
def fedora(folder: Path, small_tree: DebianTree) -> Iterator[Synthetic]:
    yield from synthetic(folder, small_tree, "fedora", "43")


@pytest.fixture(scope="module")
def with_kernel(folder: Path, rpm_tree: DebianTree) -> Iterator[Synthetic]:
    """The mirror with a kernel and boot loaders."""
    yield from synthetic(folder / "machine", rpm_tree, "fedora", "43")


@pytest.fixture(scope="module")
def centos(folder: Path, small_tree: DebianTree) -> Iterator[Synthetic]:
    yield from synthetic(folder, small_tree, "centos", "9-stream")


def test_a_container(fedora: Synthetic) -> None:
    """The tree's own dnf installs too, the image has the distribution's package sources, and times are the mirror's."""
    done = fedora.build("--output", "dir,slim=no", "-p", EXTRA, "--name", "plain", "fedora-minimal")
    tree = fedora.command.destination / "plain.dir"
    assert os.access(tree / f"usr/bin/{EXTRA}", os.X_OK)
    assert [file.name for file in (tree / "etc/yum.repos.d").iterdir()] == ["fedora.repo"]
    assert not [*(tree / "etc/pki/rpm-gpg").glob("dib-*"), *(tree / "etc/rpm").glob("*dib-ctr*")]
    assert "dib-ctr" not in (tree / "etc/dnf/dnf.conf").read_text(encoding="utf-8")
    assert (tree / "etc/locale.conf").read_text(encoding="utf-8") == "LANG=C.UTF-8\n"
    assert not [*(tree / "var/cache/dnf").iterdir(), *(tree / "var/lib/dnf").glob("history*")]
    packages = check_rpm_tree(tree, "fedora", "43")
    assert {EXTRA, "dnf", "fedora-release", "glibc"} <= packages.keys()
    assert set(packages.values()) == {str(rpm.EPOCH)}
    built = Finished(tree, done.stdout + done.stderr, fedora.mirror.folder)
    for name in sorted(rpmproperties.of("fedora", "43").names() & OBSERVATIONS.keys()):
        OBSERVATIONS[name](built)
    install_one_more(tree, fedora, "recommended-late")


@pytest.mark.thorough("two more images; test_one_mirror.py has dnf's part of it")
def test_from_metalinks_over_copies_that_are_out_of_step(fedora: Synthetic, folder: Path) -> None:
    """The same image as from a mirror that was named, though one copy is behind, and one goes away on the way."""
    ask = ("--output", "tar", "--output", "dir,slim=no", "-p", EXTRA, "--name", "copies", "fedora-minimal")
    named = fedora.build(*ask).digest("tar")
    farms: dict[str, Farm] = {}
    with ExitStack() as served:
        for name, place in zip(("fedora-43", "updates-released-f43"), fedora.mirror.places, strict=True):
            behind = folder / f"behind-{name}"
            shutil.copytree(fedora.mirror.folder / place / "repodata", behind / "repodata")
            with (behind / "repodata/repomd.xml").open("a", encoding="utf-8") as index:
                index.write("<!-- as it was before -->\n")
            states = {"behind": behind, "here": fedora.mirror.folder / place}
            copies = {"late": Copy("behind"), "first": Copy("here", gone_after=9), "second": Copy("here")}
            farm = Farm(states, copies, "here", ("behind",), date=rpm.EPOCH - 1)
            farms[name] = served.enter_context(serving(farm))
        front = farms["fedora-43"]
        front.more = farms
        settings = {
            "DIB_RELEASE": fedora.release,
            "DIB_FEDORA_METALINK": f"{front.address}/metalink",
            "DIB_RPM_KEYS": str(fedora.mirror.key),
        }
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        fresh = replace(fedora.command, store=folder / "copies-store")  # the other one has all packages already
        outcome = fresh("build", *words, *ask)
    assert outcome.status == 0, f"{outcome.stdout[-5000:]}\n{outcome.stderr}"
    packages = [path for path in front.asked if path.endswith(".rpm")]
    assert {path.split("/")[1] for path in packages} <= {"first", "second"}
    assert front.copies["first"].answers == 9, "it was used, and is gone"
    assert outcome.digest("tar") == named
    sources = fedora.command.destination / "copies.dir/etc/yum.repos.d"
    assert [file.name for file in sources.iterdir()] == ["fedora.repo"]


@pytest.mark.thorough("one more image; test_redhat_elements.py has the sources alone")
def test_package_sources_of_ones_own(fedora: Synthetic, folder: Path) -> None:
    """A folder with a .repo file takes the mirror's place, and is pinned as a mirror is; nothing of it stays."""
    sources = folder / "sources"
    sources.mkdir()
    everything, updates = (f"{fedora.address}/{place}" for place in fedora.mirror.places)
    (sources / "own.repo").write_text(
        f"[own]\nname=Own\nbaseurl={everything}/\n  http://mirror.invalid/never\nenabled=1\ngpgcheck=0\n\n"
        f"[own-updates]\nname=Own updates\nbaseurl={updates}/\n"
    )
    own = ("--set", f"DIB_YUM_MINIMAL_BOOTSTRAP_REPOS={sources}", "-p", EXTRA, "--name", "own", "fedora-minimal")
    fedora.build("--output", "dir,slim=no", *own)
    tree = fedora.command.destination / "own.dir"
    assert os.access(tree / f"usr/bin/{EXTRA}", os.X_OK)
    assert [file.name for file in (tree / "etc/yum.repos.d").iterdir()] == ["fedora.repo"]
    found = (fedora.command.store / "layers").rglob("dib-mirror.repo")  # (what takes it away is no file)
    (made,) = {text for file in found if file.is_file() and "own-updates" in (text := file.read_text())}
    assert "metalink=file:///dev/dib-ctr-repositories/own.metalink" in made
    assert "baseurl" not in made


@pytest.mark.thorough("two more images; `just test` has apt's cache")
def test_a_changed_package_in_the_cache_is_for_no_other_build(fedora: Synthetic, tmp_path: Path) -> None:
    write_planting_element(tmp_path, "/var/cache/libdnf5")
    own = replace(fedora, command=replace(fedora.command, elements=(tmp_path,)))
    own.build("--output", "tar", "-p", EXTRA, "--name", "planted", "fedora-minimal", "planting")
    kept = kept_packages(fedora.command.store, "dnf5")
    assert len(kept) > 1
    assert any(name.startswith(f"{EXTRA}-") for name in kept)
    assert all(kept.values())


@pytest.mark.thorough("an image twice over, with a kernel: minutes")
def test_the_same_bytes(with_kernel: Synthetic) -> None:
    """A machine's tree, kernel and ram disk with it, from nothing but the packages' cache."""
    ask = ("--output", "tar", "--name", "again", "fedora-minimal", "vm")
    first = with_kernel.build(*ask).digest("tar")
    assert with_kernel.build("--no-cache", *ask).digest("tar") == first


@pytest.mark.thorough("a machine with its packages, booted under emulation: minutes")
def test_a_machine_boots(with_kernel: Synthetic) -> None:
    """A disk comes up by UEFI with shim, with NetworkManager enabled and the serial line's login."""
    with_kernel.build("--output", "raw", "--name", "machine", "fedora-minimal", "vm", "growroot")
    disk = with_kernel.command.destination / "machine.raw"
    console = login(disk, "fedora", "uefi")
    assert "Started NetworkManager.service" in console


def test_a_package_of_another_key_is_refused(fedora: Synthetic, tmp_path: Path) -> None:
    key = Key.make(tmp_path / "gnupg", "Somebody else")
    other = tmp_path / "other.key"
    other.write_bytes(key.public())
    failed = fedora.build("--output", "dir", "--name", "refused", "fedora-minimal", key=other, status=1)
    assert "08-yum-minimal" in failed.stderr
    assert "GPG" in failed.stderr
    assert not (fedora.command.destination / "refused.dir").exists()


@pytest.mark.thorough("another image; test_rpm_signatures.py has what becomes of one package")
@pytest.mark.parametrize("owner", ["the mirror", "somebody else"])
def test_packages_with_signatures_of_v6_alone(fedora: Synthetic, tmp_path: Path, owner: str) -> None:
    """The build image's rpm takes them for unsigned ones; it is given the same signatures as it reads them."""
    repository = fedora.mirror.folder / fedora.mirror.places[0]
    package = fedora.mirror.package("bash")
    before = package.read_bytes()
    own = Key(fedora.mirror.folder.with_name("fedora.work") / "gnupg", "Synthetic Mirror")
    try:
        if owner != "the mirror":
            rpm.sign([package], Key.make(tmp_path / "gnupg", "Somebody else"))
        sign_as_v6(package)
        rpm.index(repository, own)
        ask = ("--output", "dir,slim=no", "--name", owner.split()[0], "fedora-minimal")
        done = fedora.build(*ask, status=0 if owner == "the mirror" else 1)
    finally:
        package.unlink()
        package.write_bytes(before)
        rpm.index(repository, own)
    assert f"1 packages ({package.name} ...) have signatures of RPM v6 alone" in done.stdout + done.stderr
    tree = fedora.command.destination / f"{owner.split()[0]}.dir"
    if owner == "the mirror":
        check_rpm_tree(tree, "fedora", "43")
    else:
        assert "GPG" in done.stderr
        assert not tree.exists()


@pytest.mark.thorough("another mirror, another image; Fedora's shows the way")
def test_centos_stream(centos: Synthetic) -> None:
    """Manifest, and what shared elements install under the family's names."""
    elements = ("centos-minimal", "base", "devuser", "manifests")
    centos.build("--output", "dir,slim=no", "--name", "centos", *elements)
    tree = centos.command.destination / "centos.dir"
    assert "devuser:" in (tree / "etc/passwd").read_text(encoding="utf-8")
    manifest = json.loads((tree / "etc/dib-manifests/dib-manifest-rpm-centos").read_text(encoding="utf-8"))
    names = {package["package"] for package in manifest["packages"]}
    assert {"centos-stream-release", "shadow-utils", "sudo"} <= names


@pytest.mark.thorough("another image of CentOS Stream")
def test_a_modules_stream_in_place_of_the_default_one(centos: Synthetic) -> None:
    streams = ("--set", "DIB_DNF_MODULE_STREAMS=stream-tool:2")
    centos.build(*streams, "--output", "dir,slim=no", "-p", EXTRA, "--name", "stream", "centos-minimal")
    tree = centos.command.destination / "stream.dir"
    assert (tree / "usr/share/stream-tool/version").read_text(encoding="utf-8") == "2\n"


@pytest.mark.thorough("three images of CentOS Stream: minutes")
def test_the_build_image_gives_the_same_bytes(centos: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    """In podman, with another release of dnf and rpm than this machine's."""
    if not has("podman"):
        missing("there is no podman")
    monkeypatch.setenv("DIB_CTR_STORE", f"dib-ctr-test-{os.getpid()}-redhat")  # a volume of the test's own
    engine = select("podman")
    ask = ("--output", "tar", "--name", "engines", "centos-minimal")
    try:
        inside = centos.build(*ask, engine="podman").digest("tar")
        # The build image has the distributions' own keys; this one's signature of itself is older than most are taken.
        real = "/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official"
        centos.build(*ask, engine="podman", more_keys=real)
    finally:
        engine.remove_store()
    monkeypatch.delenv("DIB_CTR_STORE")
    assert centos.build(*ask).digest("tar") == inside
