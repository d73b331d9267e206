"""What earlier stages left in the hooks folder, laid over the files that a stage is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.layers import lay_over


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    earlier, hooks = tmp_path / "earlier", tmp_path / "hooks"
    for folder in (earlier, hooks):
        (folder / "install.d").mkdir(parents=True)
    return earlier, hooks


def test_a_file_takes_the_place_of_one_given_and_its_mode_comes_along(folders: tuple[Path, Path]) -> None:
    earlier, hooks = folders
    (hooks / "install.d/50-x").write_text("given")
    (earlier / "install.d/50-x").write_text("left")
    (earlier / "install.d/50-x").chmod(0o755)
    (earlier / "install.d/new").mkdir()
    (earlier / "install.d/new/60-y").write_text("new")
    lay_over(earlier, hooks)
    assert (hooks / "install.d/50-x").read_text() == "left"
    assert (hooks / "install.d/50-x").stat().st_mode & 0o777 == 0o755
    assert (hooks / "install.d/new/60-y").read_text() == "new"


def test_a_file_takes_the_place_of_a_link_and_not_of_what_it_leads_to(folders: tuple[Path, Path]) -> None:
    earlier, hooks = folders
    (hooks / "install.d/other").write_text("other")
    (hooks / "install.d/50-x").symlink_to("other")
    (earlier / "install.d/50-x").write_text("left")
    lay_over(earlier, hooks)
    assert (hooks / "install.d/other").read_text() == "other"
    assert (hooks / "install.d/50-x").read_text() == "left"


def test_the_link_of_an_install_type_leaves_the_plans_script_where_the_stage_has_no_other(
    folders: tuple[Path, Path],
) -> None:
    earlier, hooks = folders
    (hooks / "install.d/40-x").write_text("the plan's")
    (earlier / "install.d/40-x").symlink_to("x-source-install/40-x")
    lay_over(earlier, hooks)
    assert (hooks / "install.d/40-x").read_text() == "the plan's"
    assert not (hooks / "install.d/40-x").is_symlink()


def test_a_link_to_a_file_that_the_stage_has_takes_the_place(folders: tuple[Path, Path]) -> None:
    earlier, hooks = folders
    (hooks / "install.d/40-x").write_text("the plan's")
    (hooks / "install.d/x-source-install").mkdir()
    (hooks / "install.d/x-source-install/40-x").write_text("chosen")
    (earlier / "install.d/40-x").symlink_to("x-source-install/40-x")
    (earlier / "install.d/nowhere").symlink_to("nothing")
    (earlier / "install.d/folder").symlink_to("x-source-install")
    lay_over(earlier, hooks)
    assert (hooks / "install.d/40-x").read_text() == "chosen"
    assert (hooks / "install.d/nowhere").is_symlink()
    assert (hooks / "install.d/folder/40-x").read_text() == "chosen"
