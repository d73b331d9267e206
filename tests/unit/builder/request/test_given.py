"""Files of the user's machine that go along with a request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.request import host_files
from builder.request.host_files import given_files, named_paths
from stages.element.references import visible_given, visible_secrets


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("/srv/a", ["/srv/a"]),
        ("file:///srv/a", ["/srv/a"]),
        ("/srv/a /srv/b", ["/srv/a /srv/b", "/srv/a", "/srv/b"]),
        ("/srv/a:/srv/b,/srv/c", ["/srv/a:/srv/b,/srv/c", "/srv/a", "/srv/b", "/srv/c"]),
        ("deb [signed-by=/srv/a] x", []),
        ("relative/a", []),
        ("/bin/bash", []),
        ("/usr/bin/zsh", []),
        ("/usr/share/keyrings/a.gpg", ["/usr/share/keyrings/a.gpg"]),
        ("/proc/cpuinfo", []),
        ("/srv/../etc/shadow", []),
        ("/", []),
        ("/usr", []),
        ("", []),
    ],
)
def test_which_paths_a_value_names(value: str, paths: list[str]) -> None:
    assert list(named_paths(value)) == [Path(path) for path in paths]


def test_files_and_folders_travel(tmp_path: Path) -> None:
    (tmp_path / "keys/below").mkdir(parents=True)
    for name in ("keys/one", "keys/below/two", "list", "activation", "other"):
        (tmp_path / name).write_text(name)
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/authorized_keys").write_text("ssh-ed25519 A")
    (home / ".ssh/id_rsa").write_text("secret")
    variables = {
        "DIB_KEYS": str(tmp_path / "keys"),
        "DIB_LIST": str(tmp_path / "list"),
        "DIB_GONE": str(tmp_path / "gone"),
        "REG_ACTIVATION_KEY": str(tmp_path / "activation"),
        "OTHER": str(tmp_path / "other"),
        "DIB_CTR_OWN": str(tmp_path / "home/.ssh/id_rsa"),
        "HOME": str(home),
    }
    found, notes = given_files(variables, home)
    assert found == {
        **{str(tmp_path / name): tmp_path / name for name in ("keys/one", "keys/below/two", "list", "activation")},
        "/root/.ssh/authorized_keys": home / ".ssh/authorized_keys",
    }
    assert notes == []


def test_what_is_too_big_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "LIMIT", 100)
    monkeypatch.setattr(host_files, "LARGE", 100)
    monkeypatch.setattr(host_files, "LARGEST", 200)
    for name, size in (("big", 201), ("single", 200), ("small", 60), ("other", 60)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(bytes(101))
    variables = {f"DIB_{name.upper()}": str(tmp_path / name) for name in ("big", "folder", "single", "small", "other")}
    found, notes = given_files(variables, tmp_path)
    assert list(found) == [str(tmp_path / "other"), str(tmp_path / "single")]
    assert len(notes) == 3
    assert f"DIB_BIG names {tmp_path}/big, which is too big" in notes[0]
    assert f"DIB_FOLDER names {tmp_path}/folder, which is too big" in notes[1]


def test_a_single_file_goes_along_however_big_and_64_mib_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "fits/folder").mkdir(parents=True)
    for name in ("fits/folder/file", "single"):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 64 << 20)
    variables = {"DIB_FITS": str(tmp_path / "fits"), "DIB_SINGLE": str(tmp_path / "single")}
    found, notes = given_files(variables, tmp_path)
    assert (len(found), notes) == (2, [])
    for name in ("fits/folder/file", "single"):
        os.truncate(tmp_path / name, (64 << 20) + 1)
    found, notes = given_files(variables, tmp_path)
    assert list(found) == [str(tmp_path / "single")]
    assert notes == [f"DIB_FITS names {tmp_path}/fits, which is too big to go along (67 MB): scripts do not see it"]


def test_who_sees_them() -> None:
    files = ["/srv/keys/one", "/srv/keys/two", "/srv/list", "/root/.ssh/authorized_keys", "/srv/keys-more"]
    assert visible_given(["x"], {"A": "/srv/keys"}, files) == ("/srv/keys/one", "/srv/keys/two")
    assert visible_given(["x"], {"A": "/srv/list /srv/keys/"}, files) == ("/srv/keys/one", "/srv/keys/two", "/srv/list")
    assert visible_given(["x"], {"A": "file:///srv/keys/"}, files) == ("/srv/keys/one", "/srv/keys/two")
    assert visible_given(["cat ~/.ssh/x"], {}, files) == ("/root/.ssh/authorized_keys",)
    assert visible_given(["x"], {"A": "words /and more"}, files) == ()


def test_stages_inside_see_the_files_of_a_registration_alone() -> None:
    variables = {"DIB_LIST": "/srv/list", "REG_ACTIVATION_KEY": "/srv/key", "REG_SAT_CA": ""}
    assert visible_secrets(variables, {"/srv/list": "1", "/srv/key": "2"}) == ("/srv/key",)
    assert visible_secrets({"DIB_LIST": "/srv/list"}, {"/srv/list": "1"}) == ()
