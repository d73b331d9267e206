"""Which names of a layer are one file: found once, kept beside it, and gone with it (joining: test_hard_links.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stages.layers.extent import linked_names
from stages.layers.hard_links import join
from stages.layers.link_groups import LayerLinks, has_flag, set_flag
from stages.layers.prune import prune
from stages.layers.store import Record, Store


def keep(store: Store) -> Record:
    with store.workplace() as place:
        tree = place.upper / "tree"
        (tree / "bin").mkdir(parents=True)
        (tree / "bin/perl").write_text("perl")
        os.utime(tree / "bin/perl", ns=(5, 7))
        os.link(tree / "bin/perl", tree / "bin/perl5")
        (tree / "alone").write_text("alone")
        (tree / "link").symlink_to("nowhere")
        os.link(tree / "link", tree / "link2", follow_symlinks=False)
        return store.keep(place, Record("k", "", (), (), {}, "install/a/k", 1.0, 0.1, 0, ""), "place")


def test_a_layer_has_a_list_of_its_groups_and_a_mark_on_each(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store)
    folder = tmp_path / "layers" / record.layer
    perl, link = sorted(store.links.of(record.layer, tmp_path / "work").groups, key=lambda each: each.names)
    assert (perl.names, link.names) == (("tree/bin/perl", "tree/bin/perl5"), ("tree/link", "tree/link2"))
    status = (folder / "tree/bin/perl").lstat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (perl.mark, 7)
    assert has_flag(str(folder / "tree/bin/perl5")) == perl.flagged
    assert perl.mark != link.mark
    assert not has_flag(str(folder / "tree/alone"))
    assert not link.flagged, "no symbolic link can have one"


def test_a_list_that_lacks_or_is_cut_short_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store)
    list_file = tmp_path / "links" / record.layer
    kept = list_file.read_text()
    perl = str(tmp_path / "layers" / record.layer / "tree/bin/perl")
    for text in (None, "", kept[:20], '{"a": 1}', "[[1]]"):
        set_flag(perl, on=False)
        os.utime(perl, ns=(5, 7))
        list_file.unlink() if text is None else list_file.write_text(text)
        links = LayerLinks(tmp_path)
        groups = links.of(record.layer, tmp_path / "work").groups
        assert json.loads(list_file.read_text()) == json.loads(kept)
        assert os.lstat(perl).st_atime_ns in {group.mark for group in groups}
    store.digests.require([record.layer])  # marks are no part of what a layer is


def test_the_list_goes_with_its_layer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store)
    prune(store, older_than=None, max_bytes=None, everything=True)
    assert not (tmp_path / "layers" / record.layer).exists()
    assert list((tmp_path / "links").iterdir()) == []


def test_the_overlay_s_notes_of_names_that_are_gone_are_no_group(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.link(tmp_path / "file", tmp_path / "other")
    assert linked_names(tmp_path) == (("file", "other"),)
    try:
        os.mknod(tmp_path / "gone", 0o020600, 0)
    except PermissionError:
        return
    os.link(tmp_path / "gone", tmp_path / "gone2")
    assert linked_names(tmp_path) == (("file", "other"),)


def test_a_stage_that_changes_all_names_of_many_files_has_its_layer_walked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``chmod -R`` does: a walk for each of them took minutes where there were some thousands."""
    lower, upper = tmp_path / "layers/a", tmp_path / "upper"
    for folder in (lower, upper):
        (folder / "tree").mkdir(parents=True)
    pairs = [(f"tree/{number}", f"tree/{number}-too") for number in range(20)]
    for one, other in pairs:
        (lower / one).write_text("text")
        (lower / other).hardlink_to(lower / one)
        for name in (one, other):  # copied up
            (upper / name).write_text("text")
            (upper / name).chmod(0o700)
    links = LayerLinks(tmp_path)
    (tmp_path / "links").mkdir()
    links.keep("a", lower, pairs, tmp_path)
    groups = links.of("a", tmp_path)
    for group in groups.groups:
        for name in group.names:
            set_flag(str(upper / name), on=group.flagged)
            os.utime(upper / name, ns=(group.mark, (lower / name).lstat().st_mtime_ns))
    walks, walk = [], os.walk

    def counted(*arguments: Any) -> Any:
        walks.append(arguments)
        return walk(*arguments)

    monkeypatch.setattr(os, "walk", counted)
    assert join([str(lower)], [groups], str(upper)) == ()
    assert len(walks) == 1
    assert all((upper / one).samefile(upper / other) for one, other in pairs)
