"""Where the tar archives of two layers differ that make the same tree: order, hidden files, parts of headers."""

from __future__ import annotations

from contextlib import closing

from builder.inspection.blobs import PIECE, BlobSource
from builder.inspection.layers import Layer, Member, members

Side = tuple[BlobSource, Layer]
Finding = tuple[str, str, str]  # what differs, and its two values
FIELDS = ("mode", "uid", "gid", "mtime", "size", "linkname", "uname", "gname", "devmajor", "devminor", "pax_headers")


def first_in_layer(ours: Side, theirs: Side) -> Finding:
    """The first difference of two archives that are known not to be the same."""
    names, other_names = _names(ours), _names(theirs)
    index = next((at for at, pair in enumerate(zip(names, other_names, strict=False)) if pair[0] != pair[1]), None)
    if index is not None:
        what = "the order of its members" if sorted(names) == sorted(other_names) else "its members"
        return f"{what}, from number {index + 1}", names[index], other_names[index]
    if len(names) != len(other_names):
        return "the number of its members", str(len(names)), str(len(other_names))
    with closing(members(*ours)) as our_members, closing(members(*theirs)) as other:
        for mine, its in zip(our_members, other, strict=True):
            finding = _headers(mine, its)
            if finding:
                return finding
            if not _same_content(mine, its):
                return f"the content of its member {mine.info.name}, hidden in the tree", _bytes(mine), _bytes(its)
    return "how headers are written, or what follows the last member", "one way", "another"


def _names(side: Side) -> list[str]:
    with closing(members(*side)) as of_layer:
        return [member.info.name for member in of_layer]


def _headers(mine: Member, its: Member) -> Finding | None:
    if mine.info.type != its.info.type:
        return f"the type of its member {mine.info.name}", repr(mine.info.type), repr(its.info.type)
    for name in FIELDS:
        value, other = getattr(mine.info, name), getattr(its.info, name)
        if value != other:
            return f"{name} of its member {mine.info.name}", repr(value), repr(other)
    return None


def _same_content(mine: Member, its: Member) -> bool:
    if mine.content is None or its.content is None:
        return True
    while piece := mine.content.read(PIECE):
        if piece != its.content.read(PIECE):
            return False
    return True


def _bytes(member: Member) -> str:
    return f"{member.info.size} bytes"
