"""Which folders of the user's machine a break command writes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.request.break_folders import folders


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("cp $TMP_MOUNT_PATH/tmp/x {}/dest", ["dest"]),
        ("cp x {}/dest/file || true", ["dest"]),
        ("tar -C $TMP_MOUNT_PATH -czf '{}/dest/a.tgz' . ; ls > {}/other/list", ["dest", "other"]),
        ("cat {}/dest/../other/x", ["other"]),
        ("cp x {}/none/deeper/file; cp y relative; bash", []),
        ("cp x /usr/bin/tool /etc/x /tmp/x $HOME/y", []),
    ],
)
def test_those_that_it_names_and_that_are_the_users(tmp_path: Path, command: str, found: list[str]) -> None:
    for name in ("dest", "other"):
        (tmp_path / name).mkdir()
    assert folders(command.format(*[tmp_path] * command.count("{}"))) == tuple(str(tmp_path / name) for name in found)
