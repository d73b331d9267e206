"""Complaints from the build container name the files that the user has."""

from __future__ import annotations

from pathlib import Path

from builder.build.source_paths import paths_for_user


def test_the_folders_of_elements_are_the_users() -> None:
    there = "/tmp/dib-ctr/request/elements"
    event = {
        "type": "error",
        "what": "no",
        "where": f"{there}/one/pkg-map:3, {there}/other/x",
        "hint": f"look at {there}/one",
        "status": 2,
    }
    found = paths_for_user(event, {"one": Path("/home/me/my elements/one")})
    assert found == {
        "type": "error",
        "what": "no",
        "where": f"/home/me/my elements/one/pkg-map:3, {there}/other/x",
        "hint": "look at /home/me/my elements/one",
        "status": 2,
    }
