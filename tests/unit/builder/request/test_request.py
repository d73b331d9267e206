"""What the user typed becomes a checked request, or is refused before anything runs."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.build.agent_code import code
from builder.build.request_archive import request_archive
from builder.destination import side_folder_of
from builder.request.choices import parse_arch
from builder.request.elements import elements_path
from builder.request.options import BuildOptions
from builder.request.outputs import parse_output
from builder.request.prepare import prepare
from builder.request.variables import mirrors, variables
from qemu.architecture import native
from stages.agent.bootstrap import files_of
from stages.element.resolve import BUILTIN
from stages.protocol.request import Output, Request


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIB_CTR_DEBIAN_MIRROR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def found_mirrors(etc: Path, environment: dict[str, str]) -> dict[str, str]:
    """The mirrors alone: what else apt is told is this machine's."""
    found = mirrors(environment, etc)
    return {name: value for name, value in found.items() if name != "DIB_CTR_APT_OPTIONS"}


def wish(tmp_path: Path, *elements: str, outputs: tuple[str, ...] = (), **more: object) -> BuildOptions:
    return BuildOptions(elements or ("debian-minimal",), outputs, destination=tmp_path, **more)  # type: ignore[arg-type]


# -- outputs


def test_an_output_is_a_type_and_options() -> None:
    assert parse_output("oci,layers=stages,tag=1.0") == Output("oci", {"layers": "stages", "tag": "1.0"})
    assert parse_output("tar,compress=zstd,dest=/srv/a.tar") == Output(
        "tar", {"compress": "zstd", "dest": "/srv/a.tar"}
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("oic", "'oci'"),
        ("tar,compres=gzip", "'compress'"),
        ("tar,compress=gzp", "'gzip'"),
        ("oci,compress=none", "gzip"),
        ("docker-archive,compress=zstd", "gzip"),
        ("oci,level=10", "from 1 to 9"),
        ("oci,compress=zstd,level=x", "from 1 to 19"),
        ("oci,layers", "layers=VALUE"),
        ("oci,tag=", "tag=VALUE"),
        ("dir,tag=1", "dest"),
        ("tar,checksum=sha256+md4", "md5"),
        ("tar,prefix=a/b", "one name"),
    ],
)
def test_a_wrong_output_is_refused_with_what_was_meant(text: str, named: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_output(text)
    assert named in raised.value.hint


def test_the_files_beside_an_image_may_have_a_folder_of_their_own(tmp_path: Path) -> None:
    assert side_folder_of(["oci", "files"]) is None
    assert side_folder_of(["oci", f"files,dest={tmp_path}"]) == tmp_path
    for text in ("files,tag=1", "files,dest", "files,dest="):
        with pytest.raises(UsageError, match="one option: dest"):
            side_folder_of([text])


# -- architecture


def test_architectures_have_several_names() -> None:
    assert [parse_arch(name) for name in ("x86_64", "amd64", "aarch64", "ppc64le", "armv7l")] == [
        "amd64",
        "amd64",
        "arm64",
        "ppc64el",
        "armhf",
    ]
    assert parse_arch("") == native()


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UsageError) as raised:
        parse_arch("x86-64")
    assert "x86_64" in raised.value.hint


# -- variables


def test_the_environment_gives_variables_and_options_win() -> None:
    environment = {
        "DIB_RELEASE": "",
        "DIB_PASSWORD": "a",
        "DIB_CTR_STORE": "/secret",
        "http_proxy": "http://proxy.example",
        "HOME": "/root",
    }
    assert variables(("DIB_PASSWORD=b=c", "OWN="), "trixie", environment, {"DIB_CTR_UBUNTU_MIRROR": "u"}) == {
        "DIB_RELEASE": "trixie",
        "DIB_PASSWORD": "b=c",
        "OWN": "",
        "DIB_CTR_UBUNTU_MIRROR": "u",
        "http_proxy": "http://proxy.example",
    }


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        (("DIB_RELEASE=bookworm",), {}),
        ((), {"DIB_RELEASE": "bookworm"}),
        (("DIB_RELEASE=x", "DIB_RELEASE=bookworm"), {}),
    ],
)
def test_two_releases_are_refused_and_the_same_one_twice_is_not(
    settings: tuple[str, ...], environment: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match=r"--release trixie and DIB_RELEASE=bookworm of .* are two releases"):
        variables(settings, "trixie", environment, {})
    assert variables(settings, "bookworm", environment, {}) == {"DIB_RELEASE": "bookworm"}


@pytest.mark.parametrize("setting", ["NAME", "=value", "A-B=c", "1A=b"])
def test_a_setting_must_be_an_assignment(setting: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE"):
        variables((setting,), "", {}, {})


def test_the_machines_own_mirrors_are_handed_on(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "sources.list").write_text(
        "deb http://mirror.example/debian trixie main\n"
        "deb http://mirror.example/debian-security trixie-security main\n"
        "deb http://mirror.example/ubuntu noble main\n"
    )
    assert found_mirrors(etc, {}) == {
        "DIB_CTR_DEBIAN_MIRROR": "http://mirror.example/debian",
        "DIB_CTR_DEBIAN_SECURITY_MIRROR": "http://mirror.example/debian-security",
        "DIB_CTR_UBUNTU_MIRROR": "http://mirror.example/ubuntu",
    }
    given = {
        "DIB_CTR_DEBIAN_SECURITY_MIRROR": "http://own.example/security",
        "DIB_CTR_UBUNTU_MIRROR": "http://u.example",
    }
    assert found_mirrors(etc, given) == {"DIB_CTR_DEBIAN_MIRROR": "http://mirror.example/debian", **given}


def test_a_mirror_variable_may_name_both_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = "http://own.example/debian http://own.example/security"
    monkeypatch.setenv("DIB_CTR_DEBIAN_MIRROR", both)
    assert found_mirrors(tmp_path, {"DIB_CTR_DEBIAN_MIRROR": both}) == {
        "DIB_CTR_DEBIAN_MIRROR": "http://own.example/debian",
        "DIB_CTR_DEBIAN_SECURITY_MIRROR": "http://own.example/security",
    }


def test_a_machine_without_mirrors_leaves_them_to_the_build_image(tmp_path: Path) -> None:
    assert found_mirrors(tmp_path, {}) == {}


# -- the whole request


def test_elements_are_sought_in_the_users_folders_first() -> None:
    assert elements_path("/a:/b", {"ELEMENTS_PATH": "/c"}) == [Path("/a"), Path("/b"), BUILTIN]
    assert elements_path("", {"ELEMENTS_PATH": "/c::"}) == [Path("/c"), BUILTIN]


def test_a_request_is_named_after_its_operating_system(tmp_path: Path) -> None:
    found = prepare("build", wish(tmp_path, "vm", "debian-minimal", outputs=("oci", "tar,compress=gzip")), {})
    assert found.request.name == "debian-minimal"
    assert found.request.asked == ("vm", "debian-minimal")
    assert set(found.request.elements) > {"debian-minimal", "debootstrap", "dpkg", "vm"}
    assert found.request.builtin == found.request.elements
    assert found.targets == (tmp_path / "debian-minimal.oci", tmp_path / "debian-minimal.tar.gz")
    assert Request.from_json(found.request.to_json()) == found.request


def test_packages_are_lists_or_repeated(tmp_path: Path) -> None:
    found = prepare("build", wish(tmp_path, packages=("vim,less", "less", "g++ libc6:i386")), {})
    assert found.request.packages == ("vim", "less", "g++", "libc6:i386")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"packages": ("a;b",)}, "package"),
        ({"name": "../up"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"breaks": ("before:",)}, "no point"),
        ({"breaks": ("during:a",)}, "no point"),
        ({"elements_path": "/is/not/there"}, "not a folder"),
        ({"arch": "vax"}, "architecture"),
        ({"outputs": ("tar", "tar")}, "two outputs"),
        ({"outputs": ("oci,dest=/srv/a", "tar,dest=/srv/a/b")}, "clash"),
        ({"outputs": ("oci,dest=/dev/null/a",)}, "cannot be written"),
    ],
)
def test_what_is_wrong_is_refused_before_work(tmp_path: Path, more: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare("build", wish(tmp_path, **more), {})  # type: ignore[arg-type]


# -- the request archive


def read(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: member for member in opened}


def test_the_archive_holds_the_request_the_code_and_the_elements_files(tmp_path: Path) -> None:
    element = tmp_path / "elements" / "mine"
    (element / "install.d").mkdir(parents=True)
    (element / "install.d/50-run").write_text("#!/bin/sh\n")
    (element / "install.d/50-run").chmod(0o700)
    (element / "element-deps").write_text("debian-minimal\n")
    (element / "element-deps").chmod(0o600)
    for skipped in ("tests/a", "__pycache__/b.pyc", ".git/c", "install.d/d.pyc"):
        (element / skipped).parent.mkdir(exist_ok=True)
        (element / skipped).write_text("")
    (tmp_path / "elements/other").mkdir()
    (tmp_path / "elements/other/file").write_text("followed")
    (element / "install.d/linked").symlink_to(tmp_path / "elements/other/file")
    (element / "static").mkdir()
    (element / "static/kept").symlink_to("/etc/of/the/image")
    found = prepare("build", wish(tmp_path, "mine", elements_path=str(element.parent)), {})
    archive = request_archive(found.request, found.elements)
    members = read(archive)
    mine = {name.removeprefix("elements/mine/"): member for name, member in members.items() if "/mine/" in name}
    assert set(mine) == {"install.d/50-run", "install.d/linked", "element-deps", "static/kept"}
    assert stat.filemode(mine["install.d/50-run"].mode) == "?rwxr-xr-x"
    assert mine["element-deps"].mode == 0o644
    assert mine["install.d/linked"].size == len("followed")
    assert mine["static/kept"].linkname == "/etc/of/the/image"
    assert "mine" not in found.request.builtin
    assert archive == request_archive(found.request, found.elements)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        text = opened.extractfile("request.json")
        assert text is not None
        assert json.load(text)["name"] == "debian-minimal"


def test_the_code_travels_without_elements_and_tests() -> None:
    names = {path for path, _, _ in files_of(code())}
    assert {
        "stages/agent/main.py",
        "stages/agent/bootstrap.py",
        "qemu/binfmt.py",
        "stages/scripts/prepare-tree",
    } <= names
    assert not any(name.startswith(("stages/elements", "builder", "tests")) or ".pyc" in name for name in names)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    element = tmp_path / "elements" / "mine"
    element.mkdir(parents=True)
    (element / "element-deps").write_text("debian-minimal\n")
    (element / "pipe").symlink_to("/dev/null")
    with pytest.raises(UsageError, match="pipe"):
        prepare("build", wish(tmp_path, "mine", elements_path=str(element.parent)), {})
