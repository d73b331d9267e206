"""What earlier scripts wrote into the hooks folder, over a stage's own files."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.element.hooks import PHASES, HookFile
from stages.layers.hooks_folder import add_earlier, keep_written, same_as_given, write_hooks

OWN = {
    "install.d/40-it": HookFile("install.d/40-it", "it", 0o755, b"own"),
    "install.d/50-data": HookFile("install.d/50-data", "it", 0o644, b"own"),
}


def read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_every_phase_has_its_folder(tmp_path: Path) -> None:
    folder = write_hooks(OWN, tmp_path / "hooks")
    assert {path.name for path in folder.iterdir()} == {phase.folder for phase in PHASES}
    assert (folder / "install.d/40-it").stat().st_mode & 0o777 == 0o755


def test_what_was_written_replaces_what_was_there(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    (earlier / "install.d/more").mkdir(parents=True)
    (earlier / "install.d/50-data").write_text("written")
    (earlier / "install.d/more/it").write_text("new")
    folder = write_hooks(OWN, tmp_path / "hooks")
    add_earlier(earlier, folder)
    assert read(folder) == {"install.d/40-it": "own", "install.d/50-data": "written", "install.d/more/it": "new"}
    own = OWN["install.d/50-data"]
    assert same_as_given(folder / "install.d/50-data", own, earlier / "install.d/50-data")
    (folder / "install.d/50-data").write_text("own")  # taken back: a result again
    assert not same_as_given(folder / "install.d/50-data", own, earlier / "install.d/50-data")


def test_a_link_replaces_a_file_where_it_leads_to_one(tmp_path: Path) -> None:
    """diskimage-builder's install types enable scripts by links into folders that the scripts' stages do not see."""
    earlier = tmp_path / "earlier"
    (earlier / "install.d").mkdir(parents=True)
    (earlier / "install.d/40-it").symlink_to("it-source-install/40-it")
    (earlier / "install.d/50-data").symlink_to("60-other")
    (earlier / "install.d/60-other").write_text("other")
    (earlier / "install.d/70-new").symlink_to("nowhere")
    folder = write_hooks(OWN, tmp_path / "hooks")
    add_earlier(earlier, folder)
    assert read(folder) == {"install.d/40-it": "own", "install.d/50-data": "other", "install.d/60-other": "other"}
    assert (folder / "install.d/70-new").readlink() == Path("nowhere")
    assert same_as_given(folder / "install.d/40-it", OWN["install.d/40-it"], earlier / "install.d/40-it")
    assert same_as_given(folder / "install.d/70-new", None, earlier / "install.d/70-new")


def test_files_and_folders_in_the_place_of_each_other(tmp_path: Path) -> None:
    own = {"a-file": HookFile("a-file", "it", 0o644, b"x"), "folder/file": HookFile("folder/file", "it", 0o644, b"x")}
    folder = write_hooks(own, tmp_path / "hooks")
    (tmp_path / "earlier/a-file").mkdir(parents=True)
    (tmp_path / "earlier/a-file/below").write_text("below")
    (tmp_path / "earlier/folder").write_text("no folder")
    add_earlier(tmp_path / "earlier", folder)
    assert ((folder / "a-file/below").read_text(), (folder / "folder").read_text()) == ("below", "no folder")


def test_a_link_in_the_place_of_a_phase_s_folder_takes_its_scripts_away(tmp_path: Path) -> None:
    own = {"install.d/50-x": HookFile("install.d/50-x", "it", 0o755, b"#!/bin/bash\n")}
    folder = write_hooks(own, tmp_path / "hooks")
    shutil.rmtree(folder / "install.d")
    (folder / "install.d").symlink_to("../../../keys")
    keep_written(folder, own, tmp_path / "earlier", tmp_path / "kept")
    assert (tmp_path / "kept/install.d/50-x").read_bytes() == b""


def test_an_earlier_link_is_not_followed_to_compare(tmp_path: Path) -> None:
    """Else a script would learn whether a file of the machine is what it has guessed."""
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine/file").write_text("guessed")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier/own").symlink_to(tmp_path / "machine")
    (tmp_path / "hooks/own").mkdir(parents=True)
    (tmp_path / "hooks/own/file").write_text("guessed")
    keep_written(tmp_path / "hooks", {}, tmp_path / "earlier", tmp_path / "kept")
    assert (tmp_path / "kept/own/file").read_text() == "guessed"
