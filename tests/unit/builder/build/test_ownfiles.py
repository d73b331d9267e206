"""Complaints from the build container name the files that the user has."""

from __future__ import annotations

from pathlib import Path

from builder.build.source_paths import paths_for_user
from stages.protocol.events import Error


def test_the_folders_of_elements_are_the_users() -> None:
    there = "/tmp/dib-ctr/request/elements"
    where = f"{there}/one/pkg-map:3, {there}/other/x"
    error = Error(what="no", where=where, hint=f"look at {there}/one", status=2, trace="")
    assert paths_for_user(error, {"one": Path("/home/me/my elements/one")}) == Error(
        what="no",
        where=f"/home/me/my elements/one/pkg-map:3, {there}/other/x",
        hint="look at /home/me/my elements/one",
        status=2,
        trace="",
    )
