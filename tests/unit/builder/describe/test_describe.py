"""Bills of materials and provenance, checked by their formats' own libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as some
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from packageurl import PackageURL
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import read
from builder.describe import cyclonedx, provenance, purl, spdx
from builder.describe.generate import CYCLONEDX, PROVENANCE, SPDX, documents
from builder.describe.image import Described, homepage
from builder.describe.provenance import element_digest
from stages.protocol.lock_record import Used, UsedPackage
from stages.redaction.patterns import WITHHELD
from stages.redaction.redaction import Redaction
from stages.tree.package_database import Package
from tests.examples import examples

DIGEST = "sha256:" + "a1" * 32
OS_RELEASE = {"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)"}
APT = {
    "kind": "deb",
    "name": "apt",
    "version": "3.0.3",
    "architecture": "amd64",
    "source": "apt",
    "source_version": "3.0.3",
    "maintainer": "APT (the team) <deity@lists.debian.org>",
    "homepage": "",
    "summary": "commandline package manager",
    "section": "admin",
    "bytes": 4588544,
}
LIBC = {
    **APT,
    "name": "libc6",
    "version": "2.41-12+b1",
    "source": "glibc",
    "source_version": "2.41-12",
    "homepage": "https://www.gnu.org/software/libc/libc.html",
    "section": "libs",
}
PERL = {**APT, "name": "perl-base", "version": "5.40.1-6", "source": "perl", "source_version": "5.40.1-6"}
DATA: dict[str, Any] = {
    "name": "debian-minimal",
    "arch": "amd64",
    "epoch": 1763800000,
    "asked": ["debian-minimal"],
    "elements": ["debian-minimal", "dpkg"],
    "os_release": OS_RELEASE,
    "packages": [APT, LIBC, {**LIBC, "architecture": "arm64"}, PERL],
    "repositories": [{"index": "http://me:pw@localhost/dists/x/InRelease", "digest": "b2" * 32, "date": 1763000000}],
    "stages": [{"title": "root/debootstrap/08-debootstrap", "key": "c3" * 32}],
    "variables": {"DIB_RELEASE": "trixie"},
    "compression": "gzip level 6, zlib 1.2.13",
}
DESCRIBED = Described.from_json(json.dumps(DATA))
LIBC_URL = "pkg:deb/debian/libc6@2.41-12%2Bb1?arch=amd64&distro=debian-13&upstream=glibc%402.41-12"
REQUEST = {
    "elements": ["debian-minimal"],
    "variables": {"DIB_DEV_USER_PASSWORD": "hunter2", "DIB_X": "http://me:p@ss@host/x", "BYTES": "\udcff"},
    "outputs": [{"type": "oci", "options": {"layers": "squashed"}}],
    "slim": True,
}
LOCK = Used(
    epoch=1763800000,
    build_image="",
    mirrors={},
    repositories=(),
    packages=(UsedPackage("apt", "3.0.3", "amd64", "07" * 32), UsedPackage("perl-base", "5.40.1-6", "amd64")),
)
ARGUMENTS: dict[str, Any] = {
    "request": REQUEST,
    "elements": {"dpkg": "d4" * 32, "debian-minimal": "e5" * 32},
    "build_image": "sha256:" + "f6" * 32,
    "dib_ctr": "0.1.0",
    "lock": LOCK.to_json(),
}


def cyclonedx_fault(document: bytes) -> object:
    """What CycloneDX's own library finds wrong in one, or None."""
    from cyclonedx.validation.json import JsonStrictValidator  # seconds, and every process of a run collects this file

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())


def test_described_is_read_whole() -> None:
    assert DESCRIBED.packages[0] == read(Package, APT)
    assert DESCRIBED.repositories[0].date == 1763000000
    assert (DESCRIBED.stages[0].key, DESCRIBED.created) == ("c3" * 32, "2025-11-22T08:26:40Z")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 1},
        {"epoch": "soon"},
        {"packages": [{"name": "apt"}]},
        {"packages": 3},
        {"os_release": {"ID": 3}},
        {"os_release": []},
        {"repositories": ["x"]},
    ],
)
def test_a_malformed_description_is_an_error_for_people(wrong: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="the description of the image cannot be read"):
        Described.from_json(json.dumps({**DATA, **wrong}))
    missing = {name: value for name, value in DATA.items() if name not in wrong}
    for text in (json.dumps(missing), "{", "[]", "null"):
        with pytest.raises(BuildError, match="the description of the image cannot be read"):
            Described.from_json(text)


def package(**fields: Any) -> Package:
    return read(Package, {**APT, **fields})


@pytest.mark.parametrize(
    ("each", "release", "expected"),
    [
        (package(), OS_RELEASE, "pkg:deb/debian/apt@3.0.3?arch=amd64&distro=debian-13"),
        (package(**PERL), OS_RELEASE, "pkg:deb/debian/perl-base@5.40.1-6?arch=amd64&distro=debian-13&upstream=perl"),
        (package(**LIBC), OS_RELEASE, LIBC_URL),
        (
            package(),
            {"ID": "debian", "VERSION_CODENAME": "sid"},
            "pkg:deb/debian/apt@3.0.3?arch=amd64&distro=debian-sid",
        ),
        (package(), {}, "pkg:deb/debian/apt@3.0.3?arch=amd64&distro=debian"),
        (
            package(version="1:2~rc1+x-1", source_version="1:2~rc1+x-1"),
            {"ID": "ubuntu", "VERSION_ID": "24.04"},
            "pkg:deb/ubuntu/apt@1:2~rc1%2Bx-1?arch=amd64&distro=ubuntu-24.04",
        ),
        (
            package(kind="apk", name="musl", source="musl", architecture="x86_64"),
            {"ID": "alpine", "VERSION_ID": "3.20.3"},
            "pkg:apk/alpine/musl@3.0.3?arch=x86_64&distro=alpine-3.20.3",
        ),
        (
            package(kind="alpm", name="pacman", source="pacman", architecture="x86_64"),
            {"ID": "arch"},
            "pkg:alpm/arch/pacman@3.0.3?arch=x86_64&distro=arch",
        ),
        (
            package(kind="ebuild", name="dev-cpp/gtkmm", source="dev-cpp/gtkmm", architecture="x86_64"),
            {"ID": "gentoo", "VERSION_ID": "2.18"},
            "pkg:ebuild/dev-cpp/gtkmm@3.0.3?arch=x86_64&distro=gentoo-2.18",
        ),
    ],
)
def test_package_urls(each: Package, release: dict[str, str], expected: str) -> None:
    url = purl.of_package(each, release).to_string()
    assert url == expected
    assert PackageURL.from_string(url).version == each.version


def test_cyclonedx_is_valid_and_says_all() -> None:
    data = cyclonedx.document(DESCRIBED, DIGEST)
    assert cyclonedx_fault(data) is None
    document = json.loads(data)
    image = document["metadata"]["component"]
    assert image["purl"] == f"pkg:oci/debian-minimal@{DIGEST}?arch=amd64"
    assert image["hashes"] == [{"alg": "SHA-256", "content": "a1" * 32}]
    assert document["metadata"]["timestamp"] == "2025-11-22T08:26:40+00:00"
    parts = {part["bom-ref"]: part for part in document["components"]}
    system = parts.pop("os:debian@13")
    assert (system["type"], system["name"], system["version"]) == ("operating-system", "debian", "13")
    assert sorted(part["name"] for part in parts.values()) == ["apt", "libc6", "libc6", "perl-base"]
    assert parts[LIBC_URL]["purl"] == LIBC_URL
    assert parts[LIBC_URL]["externalReferences"][0]["url"] == LIBC["homepage"]
    needs = {each["ref"]: each.get("dependsOn") for each in document["dependencies"]}
    assert set(needs[image["bom-ref"]]) == {"os:debian@13", *parts}


def spdx_problems(document: dict[str, Any]) -> list[str]:
    """What the format's own library finds wrong; it raises an error for what it cannot read at all."""
    parsed = JsonLikeDictParser().parse(document)  # type: ignore[no-untyped-call]
    return [message.validation_message for message in validate_full_spdx_document(parsed)]


def test_spdx_is_valid_and_says_all() -> None:
    document = json.loads(spdx.document(DESCRIBED, DIGEST))
    assert spdx_problems(document) == []
    parts = {part["SPDXID"]: part for part in document["packages"]}
    assert parts["SPDXRef-Image"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "a1" * 32}]
    assert parts["SPDXRef-Package-deb-libc6-amd64"]["externalRefs"][0]["referenceLocator"] == LIBC_URL
    assert parts["SPDXRef-Package-deb-libc6-amd64"]["sourceInfo"] == "built from the source package glibc 2.41-12"
    assert parts["SPDXRef-OperatingSystem"]["versionInfo"] == "13"
    related = {(one["relationshipType"], one["relatedSpdxElement"]) for one in document["relationships"]}
    assert related == {("DESCRIBES", "SPDXRef-Image"), *(("CONTAINS", part) for part in set(parts) - {"SPDXRef-Image"})}
    assert document["creationInfo"]["created"] == "2025-11-22T08:26:40Z"


TEXT = some.text(max_size=12)
PACKAGES = some.builds(
    Package,
    kind=some.sampled_from(["deb", "apk", "alpm"]),
    name=some.from_regex(r"[A-Za-z0-9@_.][A-Za-z0-9@._+-]{0,5}\Z"),
    version=TEXT,
    architecture=TEXT,
    source=TEXT,
    source_version=TEXT,
    maintainer=some.one_of(TEXT, some.emails(), some.emails().map("A (b) <{}>".format)),
    homepage=some.one_of(TEXT, TEXT.map("https://ex.org/{}".format)),
    summary=TEXT,
    section=TEXT,
)


@settings(max_examples=examples(60), deadline=None)
@given(some.lists(PACKAGES, max_size=4), some.dictionaries(some.sampled_from(["ID", "VERSION_ID"]), TEXT))
def test_whatever_a_tree_says_the_documents_are_valid(packages: list[Package], release: dict[str, str]) -> None:
    described = replace(DESCRIBED, packages=(*packages, *packages), os_release=release)
    bill = cyclonedx.document(described, DIGEST)
    assert cyclonedx_fault(bill) is None
    assert cyclonedx.document(described, DIGEST) == bill
    assert spdx_problems(json.loads(spdx.document(described, DIGEST))) == []
    validated(provenance.statement(described, DIGEST, **ARGUMENTS))


def validated(data: bytes) -> dict[str, Any]:
    """A statement as JSON, once in-toto's own definitions have taken it, with no field that they do not know."""
    message = json_format.Parse(data, StatementMessage())
    Statement.copy_from_pb(message).validate()
    json_format.ParseDict(json_format.MessageToDict(message)["predicate"], Provenance())
    statement: dict[str, Any] = json.loads(data)
    return statement


def test_provenance_is_valid_and_says_all() -> None:
    statement = validated(provenance.statement(DESCRIBED, DIGEST, **ARGUMENTS))
    assert statement["subject"] == [{"name": "debian-minimal", "digest": {"sha256": "a1" * 32}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["outputs"] == REQUEST["outputs"]
    assert definition["externalParameters"]["slim"] is True
    inside = definition["internalParameters"]
    assert (inside["buildImage"], inside["dibCtr"]) == (ARGUMENTS["build_image"], "0.1.0")
    assert inside["stages"] == DATA["stages"]
    needed = definition["resolvedDependencies"]
    assert needed[:3] == [
        {"name": "element debian-minimal", "digest": {"sha256": "e5" * 32}},
        {"name": "element dpkg", "digest": {"sha256": "d4" * 32}},
        {
            "name": "package repository",
            "uri": "http://localhost/dists/x/InRelease",
            "digest": {"sha256": "b2" * 32},
            "annotations": {"date": "2025-11-13T02:13:20Z"},
        },
    ]
    packages = {each["uri"]: each.get("digest") for each in needed[3:]}
    assert packages["pkg:deb/debian/apt@3.0.3?arch=amd64&distro=debian-13"] == {"sha256": "07" * 32}
    assert packages[LIBC_URL] is None
    assert len(packages) == 4


def test_provenance_tells_no_secret() -> None:
    data = provenance.statement(DESCRIBED, DIGEST, **ARGUMENTS)
    shown = json.loads(data)["predicate"]["buildDefinition"]["externalParameters"]["variables"]
    assert shown == {"DIB_DEV_USER_PASSWORD": WITHHELD, "DIB_X": "http://host/x", "BYTES": "\\udcff"}
    assert b"hunter2" not in data
    assert b"pw@" not in data
    assert Redaction().shown({"token": {"a": "b"}, "TOKENS": "", "n": 1}) == {
        "token": WITHHELD,
        "TOKENS": "",
        "n": 1,
    }


PRINT = """
import json, sys
from builder.describe.generate import documents
from builder.describe.image import Described
described, digest, arguments = json.load(sys.stdin)
for each in documents(Described.from_json(described), digest, **arguments):
    sys.stdout.buffer.write(each.data + b"\\n")
"""


def test_the_same_in_any_process_is_the_same_bytes() -> None:
    expected = b"".join(each.data + b"\n" for each in documents(DESCRIBED, DIGEST, **ARGUMENTS))
    assert b"a1" * 32 in expected
    sent = json.dumps([json.dumps(DATA), DIGEST, ARGUMENTS]).encode()
    for seed, zone, locale in (("1", "Asia/Tokyo", "C"), ("2", "America/Lima", "C.UTF-8")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
        root = Path(__file__).parents[4]
        command = [sys.executable, "-c", PRINT]
        run = subprocess.run(command, cwd=root, env=environment, input=sent, stdout=subprocess.PIPE, check=True)
        assert run.stdout == expected
    other = documents(DESCRIBED, "sha256:" + "99" * 32, **ARGUMENTS)
    assert all(b"99" * 32 in each.data and b"a1" * 32 not in each.data for each in other)


def test_the_order_of_packages_does_not_show() -> None:
    turned = replace(DESCRIBED, packages=DESCRIBED.packages[::-1])
    assert documents(turned, DIGEST, **ARGUMENTS) == documents(DESCRIBED, DIGEST, **ARGUMENTS)


def test_each_document_has_its_type_and_file() -> None:
    found = [(each.artifact_type, each.title) for each in documents(DESCRIBED, DIGEST, **ARGUMENTS)]
    assert found == [
        (CYCLONEDX, "debian-minimal.cdx.json"),
        (SPDX, "debian-minimal.spdx.json"),
        (PROVENANCE, "debian-minimal.provenance.json"),
    ]


def test_to_import_the_package_imports_no_library() -> None:
    told = "import sys, builder.describe; print([name for name in ('cyclonedx', 'packageurl') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("digest", ["", "a1" * 32, "sha256:", "sha256:" + "A1" * 32, "sha256:../../x", DIGEST + "\n"])
def test_what_is_no_digest_makes_no_document(digest: str) -> None:
    for make in (cyclonedx.document, spdx.document):
        with pytest.raises(ValueError, match="is no sha256 digest"):
            make(DESCRIBED, digest)


def element(folder: Path, order: int = 1) -> Path:
    files = {"install.d/50-x": "#!/bin/sh\n", "package-installs.yaml": "jq:\n", "static/etc/x": "x\n"}
    for name, text in sorted(files.items())[::order]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "install.d/50-x").chmod(0o755)
    (folder / "static/etc/link").symlink_to("x")
    return folder


def test_an_elements_digest_is_its_content(tmp_path: Path) -> None:
    one, other = element(tmp_path / "one"), element(tmp_path / "other", -1)
    before = element_digest(one)
    assert element_digest(other) == before
    (other / "install.d/50-x").chmod(0o700)  # still executable: that is all that travels
    os.utime(other / "install.d/50-x", (0, 0))
    (other / "__pycache__").mkdir()
    (other / "__pycache__/x.pyc").write_text("")
    assert element_digest(other) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "install.d/50-x").chmod(0o644),
        lambda folder: (folder / "install.d/50-x").write_text("#!/bin/bash\n"),
        lambda folder: (folder / "install.d/50-x").rename(folder / "install.d/51-x"),
        lambda folder: (folder / "install.d/50-x").unlink(),
        lambda folder: (folder / "element-deps").write_text(""),
        lambda folder: ((folder / "static/etc/link").unlink(), (folder / "static/etc/link").symlink_to("y")),
        lambda folder: ((folder / "static/etc/link").unlink(), (folder / "static/etc/link").write_text("x")),
    ],
)
def test_any_change_of_an_element_shows(tmp_path: Path, change: Any) -> None:
    folder = element(tmp_path / "one")
    before = element_digest(folder)
    change(folder)
    assert element_digest(folder) != before


def test_an_element_with_a_pipe_is_refused(tmp_path: Path) -> None:
    folder = element(tmp_path / "one")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="pipe is neither a file nor a folder"):
        element_digest(folder)


@pytest.mark.parametrize("url", ["https://a.org", "http://a.b-c.io:80/x%20y?q=1#f", "https://x.y/~a/"])
def test_only_a_url_is_a_home_page(url: str) -> None:
    assert homepage(package(homepage=url)) == url
    for wrong in (f"ftp:{url}", f"{url} ", f"{url}\n", f"{url}%2", f"{url}<"):
        assert homepage(package(homepage=wrong)) == ""
