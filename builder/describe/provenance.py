"""Where an image comes from: an in-toto statement (v1) with SLSA provenance (v1, https://slsa.dev/spec/v1.0/provenance).

It goes wherever the image goes. So it has no time of the clock and nothing of this machine, and what looks like a
secret is named in it, but not told.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.describe import purl
from builder.describe.image import Described, hex_of, rfc3339
from stages.element.files import SKIPPED, files_of, is_kept
from stages.element.hooks import is_dangling
from stages.outputs.formats.oci_layout import encode
from stages.redaction.patterns import without_credentials
from stages.redaction.redaction import Redaction
from stages.tree.package_database import Package

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://github.com/dib-ctr/dib-ctr/build/v1"
BUILDER = "https://github.com/dib-ctr/dib-ctr"


def statement(
    described: Described,
    digest: str,
    *,
    request: Mapping[str, Any],
    elements: Mapping[str, str],
    build_image: str,
    dib_ctr: str,
    lock: Mapping[str, Any] | None,
    redaction: Redaction | None = None,
) -> bytes:
    """The provenance of the image whose manifest has this digest (``sha256:<hex>``), as UTF-8 JSON.

    ``request`` is what was asked for, without paths of this machine: it is recorded as it is, but for secrets.
    ``elements`` has a digest (hex, :func:`element_digest`) for each element's name, ``build_image`` is the digest of
    the build image, ``dib_ctr`` the version of dib-ctr. ``lock`` is what was used, as
    ``stages.protocol.lock_record.Used.to_json`` gives it, where that is known: packages get their files' digests from
    it. ``redaction`` knows the request's secrets. The same arguments give the same bytes.
    """
    subject = {"name": described.name, "digest": {"sha256": hex_of(digest)}}
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": _shown_request(request, redaction or Redaction()),
        "internalParameters": {
            "buildImage": build_image,
            "dibCtr": dib_ctr,
            "compression": described.compression,
            "sourceDateEpoch": described.epoch,
            "stages": [{"title": stage.title, "key": stage.key} for stage in described.stages],
        },
        "resolvedDependencies": [
            *_elements(elements),
            *_base_images(lock),
            *_repositories(described),
            *_packages(described, _checksums(lock)),
        ],
    }
    run = {"builder": {"id": BUILDER, "version": {"dib-ctr": dib_ctr}}}
    predicate = {"buildDefinition": definition, "runDetails": run}
    return encode({"_type": STATEMENT, "subject": [subject], "predicateType": PREDICATE, "predicate": predicate})


def _shown_request(request: Mapping[str, Any], redaction: Redaction) -> dict[str, Any]:
    """What was asked for, without secrets: known ones are looked for in variables, not in the names of other things."""
    shown: dict[str, Any] = Redaction().shown({name: value for name, value in request.items() if name != "variables"})
    return {**shown, "variables": redaction.shown(request.get("variables", {}))} if "variables" in request else shown


def _elements(elements: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, digest in sorted(elements.items()):
        yield {"name": f"element {name}", "digest": {"sha256": digest}}


def _base_images(lock: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    for each in (lock or {}).get("base_images", ()):
        yield {"name": "base image", "uri": each["name"], "digest": {"sha256": hex_of(each["digest"])}}


def _repositories(described: Described) -> Iterator[dict[str, Any]]:
    for each in sorted(described.repositories, key=lambda each: (each.index, each.digest)):
        yield {
            "name": "package repository",
            "uri": without_credentials(each.index),
            "digest": {"sha256": each.digest},
            "annotations": {"date": rfc3339(each.date)},
        }


def _packages(described: Described, checksums: Mapping[tuple[str, str, str], str]) -> Iterator[dict[str, Any]]:
    materials: dict[str, dict[str, Any]] = {}
    for package in described.packages:
        url = purl.of_package(package, described.os_release).to_string()
        checksum = checksums.get(_identity(package))
        materials[url] = {"uri": url, **({"digest": {"sha256": checksum}} if checksum else {})}
    for _, each in sorted(materials.items()):
        yield each


def _identity(package: Package) -> tuple[str, str, str]:
    return package.name, package.version, package.architecture


def _checksums(lock: Mapping[str, Any] | None) -> dict[tuple[str, str, str], str]:
    """The SHA-256 of each package that the lock has one for."""
    packages = (lock or {}).get("packages", ())
    return {
        (each["name"], each["version"], each.get("architecture", "")): each["sha256"]
        for each in packages
        if each.get("sha256")
    }


def element_digest(folder: Path) -> str:
    """SHA-256 (hex) over the files of an element that go into a build: see :mod:`builder.build.request_archive`.

    For each file in the order of the names' bytes: its path, whether it is executable, a link's target or the SHA-256
    of its content, each ended by a NUL. Raises UsageError for a file that cannot be read.
    """
    lines = {file.relative_to(folder).as_posix().encode("utf-8", "surrogateescape"): file for file in _files(folder)}
    whole = hashlib.sha256()
    for name, file in sorted(lines.items()):
        whole.update(b"\0".join((name, *_content(file, folder), b"")))
    return whole.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return files_of(folder, SKIPPED)


def _content(file: Path, folder: Path) -> tuple[bytes, bytes]:
    where = f"element {folder.name}"
    try:
        if is_kept(file, folder) or is_dangling(file):
            return b"link", str(file.readlink()).encode("utf-8", "surrogateescape")
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"{file} is neither a file nor a folder", where=where)
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"the file {file} cannot be read: {error.strerror}", where=where) from error
    return b"executable" if mode & 0o111 else b"file", hashlib.sha256(data).hexdigest().encode()
