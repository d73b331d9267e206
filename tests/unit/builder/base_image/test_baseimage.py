"""Images that a build begins with: how they are named, what they say of themselves, and their tree as one archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from docker.auth import INDEX_NAME

from blockdev.core.errors import BuildError, UsageError
from builder.base_image import fetch, flatten, inspect
from builder.base_image.reference import Remote, parse
from builder.inspection.image import open_image
from tests.unit.handmade_images import Item, folder, hard, image, link

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "host", "name", "reference"),
    [
        ("fedora", INDEX_NAME, "library/fedora", "latest"),
        ("some/one:1.2", INDEX_NAME, "some/one", "1.2"),
        ("docker://registry.example/a/b:c", "registry.example", "a/b", "c"),
        ("localhost:5000/a", "localhost:5000", "a", "latest"),
        (f"[::1]:5000/a:b@{DIGEST}", "[::1]:5000", "a", DIGEST),
    ],
)
def test_an_image_in_a_registry_is_named(text: str, host: str, name: str, reference: str) -> None:
    assert parse(text) == Remote(host, name, reference)


@pytest.mark.parametrize("text", ["Fedora", "a b", "registry.example/", "a@sha256:12", "oci:/nowhere", ""])
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"names no image|there is no"):
        parse(text)


def _told(os_release: str, *programs: str, arch: str = "amd64", **files: str) -> inspect.BaseImageInfo:
    contents = {"/usr/lib/os-release": os_release, **{path.replace("|", "/"): text for path, text in files.items()}}
    return inspect.told_by(contents, frozenset(programs), {}, arch)


@pytest.mark.parametrize(
    ("os_release", "distribution", "release"),
    [
        ('ID=debian\nVERSION_CODENAME=trixie\nVERSION_ID="13"', "debian", "trixie"),
        ("ID=debian\n", "debian", "unstable"),
        ('ID="centos"\nVERSION_ID="9"\n', "centos", "9-stream"),
        ('ID="rocky"\nVERSION_ID="9.4"\n', "rocky", "9"),
        ("ID=fedora\nVERSION_ID=42\n", "fedora", "42"),
        ('ID="opensuse-leap"\nVERSION_ID="15.6"\n', "opensuse", "15.6"),
        ('ID="opensuse-tumbleweed"\nVERSION_ID="20261101"\n', "opensuse", "tumbleweed"),
        ("ID=alpine\nVERSION_ID=3.21.0\n", "alpine", "3.21.0"),
        ("ID=arch\n", "arch", "rolling"),
        ("# nothing", "", "rolling"),
    ],
)
def test_distribution_and_release_are_what_os_release_says(os_release: str, distribution: str, release: str) -> None:
    found = _told(os_release)
    assert (found.distribution, found.release) == (distribution, release)


@pytest.mark.parametrize(
    ("programs", "manager", "init"),
    [
        (("/usr/bin/apt-get", "/usr/bin/systemctl"), "dpkg", "systemd"),
        (("/usr/bin/microdnf",), "yum", "systemd"),
        (("/usr/bin/rpm", "/usr/bin/zypper", "/usr/lib/systemd/systemd"), "zypper", "systemd"),
        (("/sbin/apk", "/sbin/openrc"), "apk", "openrc"),
        (("/usr/bin/pacman",), "pacman", "systemd"),
        (("/bin/sh",), "", "systemd"),
    ],
)
def test_package_manager_and_init_system_are_found(programs: tuple[str, ...], manager: str, init: str) -> None:
    found = _told("ID=x\n", *programs)
    assert (found.manager, found.init) == (manager, init)


def test_repositories_of_each_family_are_found() -> None:
    apt = _told(
        "ID=debian\n",
        "/usr/bin/apt-get",
        **{
            "/etc/apt/sources.list.d/a.sources": "Types: deb\nURIs: http://m/debian\nSuites: trixie\n",
            "/etc/apt/sources.list": "deb [arch=amd64] http://m/more x main\n# deb http://m/none y main\n",
        },
    )
    assert [line.split()[-1] for line in apt.repositories] == [
        "http://m/more/dists/x/InRelease",
        "http://m/debian/dists/trixie/InRelease",
    ]
    repo = (
        "[fedora]\nname=Fedora\n#baseurl=http://m/wrong\nmetalink=http://m/metalink?repo=fedora-$releasever&arch=$basearch\n"
        "[updates]\nbaseurl=http://m/updates/${releasever}/$basearch/ http://m/other\n"
        "[testing]\nenabled=0\nbaseurl=http://m/testing\n[list]\nmirrorlist=http://m/list\n"
    )
    rpm = _told("ID=fedora\nVERSION_ID=42\n", "/usr/bin/dnf", arch="arm64", **{"/etc/yum.repos.d/fedora.repo": repo})
    assert rpm.repositories == (
        "fedora metalink=http://m/metalink?repo=fedora-42&arch=aarch64",
        "updates http://m/updates/42/aarch64/repodata/repomd.xml",
        "list mirrorlist=http://m/list repodata/repomd.xml basearch=aarch64",
    )
    apk = _told("ID=alpine\n", "/sbin/apk", **{"/etc/apk/repositories": "http://m/v3.21/main\n#http://m/edge\n"})
    assert [line.split()[-1] for line in apk.repositories] == ["http://m/v3.21/main/x86_64/APKINDEX.tar.gz"]
    pacman = _told(
        "ID=arch\n",
        "/usr/bin/pacman",
        **{
            "/etc/pacman.conf": "[options]\nHoldPkg = pacman\n[core]\nInclude = /etc/pacman.d/mirrorlist\n[extra]\n",
            "/etc/pacman.d/mirrorlist": "#Server = http://n\nServer = http://m/$repo/os/$arch\n",
        },
    )
    assert pacman.repositories == ("core http://m/core/os/x86_64/core.db", "extra http://m/extra/os/x86_64/extra.db")


def test_the_images_own_configuration_is_kept() -> None:
    config = {"Cmd": ["bash"], "Env": ["PATH=/bin", "A=b=c"], "User": "", "ExposedPorts": {"80/tcp": {}}}
    assert inspect.settings(config) == {"cmd": ["bash"], "env": {"A": "b=c"}, "ports": ["80/tcp"]}


OS_RELEASE = Item("usr/lib/os-release", b"ID=fedora\nVERSION_ID=42\n")


def _layers() -> list[list[Item]]:
    lower = [
        folder("usr"),
        folder("usr/lib"),
        folder("usr/bin"),
        OS_RELEASE,
        link("bin", "usr/bin"),
        Item("usr/bin/dnf", b"program", mode=0o755, headers={"SCHILY.xattr.user.x": "y"}),
        hard("usr/bin/dnf-3", "usr/bin/dnf"),
        Item("gone", b"x"),
        Item("dev/null", type=tarfile.CHRTYPE, device=(1, 3)),
    ]
    upper = [Item(".wh.gone"), Item("bin/new", b"new", owner=(5, 6)), Item("fifo", type=tarfile.FIFOTYPE)]
    return [lower, upper]


def test_an_image_is_laid_flat_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layout = image(tmp_path / "my-base.oci", *_layers(), config={"Cmd": ["/bin/new"]})
    found = fetch.find(f"oci:{layout}", "amd64", offline=True)
    assert (found.title, found.facts.distribution, found.facts.manager) == ("my-base", "fedora", "yum")
    assert found.facts.config == {"cmd": ["/bin/new"]}
    with tarfile.open(found.archive) as archive:
        members = {member.name: member for member in archive}
        content = {name: archive.extractfile(name) for name in ("usr/bin/new", "usr/bin/dnf-3")}
        assert {name: file and file.read() for name, file in content.items()} == {
            "usr/bin/new": b"new",
            "usr/bin/dnf-3": b"program",
        }
    assert set(members) == {
        *("usr", "usr/lib", "usr/bin", "usr/lib/os-release", "bin", "dev"),
        *("usr/bin/dnf", "usr/bin/dnf-3", "usr/bin/new", "fifo"),
    }
    assert (members["usr/bin/new"].uid, members["usr/bin/new"].gid) == (5, 6)
    assert members["usr/bin/dnf"].pax_headers["SCHILY.xattr.user.x"] == "y"
    before = found.archive.stat()
    again = fetch.find(f"oci:{layout}", "amd64", offline=False)
    assert again == found
    assert again.archive.stat().st_mtime_ns == before.st_mtime_ns


def test_the_same_tree_is_the_same_archive(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        opened = open_image(image(tmp_path / name, *_layers()), "amd64")
        flatten.write(opened, opened.contents().tree, tmp_path / f"{name}.tar")
        digests.append((tmp_path / f"{name}.tar").read_bytes())
    assert digests[0] == digests[1]
    with tarfile.open(fileobj=io.BytesIO(digests[0])) as archive:
        assert archive.getmember("fifo").isfifo()


def test_a_damaged_layer_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layout = image(tmp_path / "base", *_layers())
    layer = open_image(layout, "amd64").layers[1].blob
    (layout / layer.name).write_bytes(b"damaged")
    with pytest.raises(BuildError, match=r"digest|layer"):
        fetch.find(f"oci:{layout}", "amd64", offline=False)
    assert list((tmp_path / "cache/dib-ctr/images").iterdir()) == []


def test_offline_takes_only_what_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BuildError, match="was never fetched"):
        fetch.find("registry.invalid/a:b", "amd64", offline=True)


@pytest.mark.parametrize("facts", ["", "{}", "[]", '{"distribution": 1}'])
def test_facts_of_a_kept_image_that_cannot_be_read_are_made_again(tmp_path: Path, facts: str) -> None:
    opened = open_image(image(tmp_path / "image", *_layers()), "amd64")
    base = fetch.keep(tmp_path / "cache", "name", opened, "amd64")
    assert fetch.kept(tmp_path / "cache", "name", opened.digest, "amd64") == base
    base.archive.with_name(fetch.FACTS).write_text(facts)
    assert fetch.kept(tmp_path / "cache", "name", opened.digest, "amd64") is None
    assert fetch.keep(tmp_path / "cache", "name", opened, "amd64") == base
