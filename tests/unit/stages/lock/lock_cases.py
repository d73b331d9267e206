"""A lock of one package and its repository, and a build's request for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.request.lock_file import LockFile
from stages.protocol.lock_record import Used, UsedPackage, UsedRepository
from stages.protocol.request import Request

INDEX = "http://mirror.localhost/debian/dists/trixie/InRelease"
SUM = "0123456789abcdef" * 4
PACKAGE = UsedPackage("hello", "1:2.10-3+b1", "amd64", SUM, 53, "pool/main/h/hello/hello_2.10-3+b1_amd64.deb", INDEX)
USED = Used(
    epoch=1789199741,
    build_image="7b56c83be285",
    mirrors={"DIB_CTR_DEBIAN_MIRROR": "http://mirror.localhost/debian"},
    repositories=(UsedRepository(INDEX, SUM, 1789199741, ("main/binary-amd64/Packages",)),),
    packages=(PACKAGE,),
)
SOURCE = {"name": "x", "type": "git", "location": "https://h/x.git", "ref": "main", "commit": SUM[:40]}
REQUEST = Request(
    "build", asked=("debian-minimal",), packages=("hello",), variables={"DIB_RELEASE": "trixie"}, arch="amd64"
)


def written(tmp_path: Path, lock: LockFile | None = None, **changes: Any) -> Path:
    document = (lock or LockFile.of(REQUEST, {"amd64": USED})).to_json()
    file = tmp_path / "lock.json"
    file.write_text(json.dumps({**document, **changes}))
    return file
