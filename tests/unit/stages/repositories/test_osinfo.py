"""Default mirrors are read from osinfo-db's and debootstrap's own files (here: synthetic ones)."""

from pathlib import Path

from stages.repositories import default_mirrors
from stages.repositories.default_mirrors import DATABASE, UBUNTU_SCRIPT, default_mirror


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_base_is_what_stands_before_the_layout(tmp_path: Path) -> None:
    url = "<url>http://m.test/v3.21/releases/x86_64/a.iso</url>"
    _write(tmp_path / DATABASE / "alpinelinux.org" / "alpinelinux-3.21.xml", url)
    assert default_mirror("alpine", "amd64", tmp_path) == "http://m.test/alpine"


def test_ubuntu_has_a_ports_archive(tmp_path: Path) -> None:
    lines = [f"default_mirror http://{name}.test/u" for name in ("old-releases", "archive", "ports")]
    _write(tmp_path / UBUNTU_SCRIPT, "\n".join(lines))
    assert default_mirror("ubuntu", "amd64", tmp_path) == "http://archive.test/u"
    assert default_mirror("ubuntu", "arm64", tmp_path) == "http://ports.test/u"


def test_nothing_is_known_without_the_files(tmp_path: Path) -> None:
    assert default_mirror("fedora", "amd64", tmp_path) is None
    assert default_mirror("ubuntu", "amd64", tmp_path) is None


def test_an_element_names_its_distribution(tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = root / default_mirrors.DATABASE / "opensuse.org"
    folder.mkdir(parents=True)
    (folder / "opensuse-15.6.xml").write_text(
        "<url>http://m.invalid/list?path=/distribution/x.iso</url><url>http://m.invalid/c/distribution/x/</url>"
    )
    for name in ("opensuse", "gentoo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / default_mirrors.FILE).write_text(f"{name}\n")
    (tmp_path / "vm").mkdir()
    folders = [tmp_path / name for name in ("opensuse", "gentoo", "vm")]
    assert default_mirrors.fallbacks(folders, "amd64", root) == {"DIB_CTR_OPENSUSE_MIRROR": "http://m.invalid/c"}
    assert default_mirrors.fallbacks(folders, "amd64", tmp_path) == {}
