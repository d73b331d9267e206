"""Facts held against mirrors that the test makes: what is there, what is not, who signs, and what nobody reached."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stages.distributions.table import Distribution, of
from tests.facts.mirrors import DIFFERS, NOT_REACHED, VERIFIED, Answer, Release, answers
from tests.facts.signers import Signers, signature_keys
from tests.mirrors.keys import Key
from tests.mirrors.serve import serve

APK_KEY = "dev@acme.invalid-0123abcd.rsa.pub"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key.make(tmp_path_factory.mktemp("keys") / "home", "Acme")


def fingerprint(key: Key) -> str:
    listed = key.run("--with-colons", "--list-keys", key.name).decode()
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def acme(manager: str, keys: list[str], **facts: Any) -> Distribution:
    common = {
        "package-manager": {"build": manager},
        "keys": dict.fromkeys(keys, ""),
        "key-files": ["acme.asc"],
        "packages": {"release": "acme-release", "kernel": "kernel-core", "shim": ""},
    }
    values = {
        "title": "Acme",
        "architectures": {"amd64": "x86_64"},
        "facts": {**common, **facts},
        "releases": {"1": {}},
    }
    return of("acme", values)


def told(distribution: Distribution, folder: Path, mirror: str, **more: Any) -> dict[tuple[str, str], Answer]:
    release = Release(distribution, "1", "amd64", mirror, keys=folder, **more)
    return {(each.fact, each.about): each for each in answers(release)}


# -- RPM ------------------------------------------------------------------------------------------------------------


def rpm_mirror(folder: Path, names: list[str]) -> bytes:
    """A repository of RPM packages' names below ``folder``/1/x86_64/os; its repomd.xml."""
    packages = "".join(
        f'<package><checksum type="sha256">{"0" * 64}</checksum><location href="p/{name}-1-1.x86_64.rpm"/></package>'
        for name in names
    )
    primary = gzip.compress(f"<metadata>{packages}</metadata>".encode(), mtime=0)
    digest = hashlib.sha256(primary).hexdigest()
    repomd = (
        f'<repomd><data type="primary"><checksum type="sha256">{digest}</checksum>'
        f'<location href="repodata/{digest}-primary.xml.gz"/></data></repomd>'
    ).encode()
    put(folder, {"1/x86_64/os/repodata/repomd.xml": repomd})
    put(folder, {f"1/x86_64/os/repodata/{digest}-primary.xml.gz": primary})
    return repomd


REPOSITORIES = [{"name": "os", "path": "@RELEASE@/@ARCH@/os"}]


def test_a_signed_repository_has_all_that_the_facts_say(tmp_path: Path, key: Key) -> None:
    rpm_mirror(tmp_path, ["acme-release", "kernel-core"])
    index = tmp_path / "1/x86_64/os/repodata/repomd.xml"
    key.sign(index, index.with_name("repomd.xml.asc"))
    put(tmp_path, {"acme.asc": key.public()})
    with serve(tmp_path) as mirror:
        found = told(acme("dnf", [fingerprint(key)], repositories=REPOSITORIES), tmp_path, mirror)
    assert {each.state for each in found.values()} == {VERIFIED}
    assert set(found) == {("repositories", "os"), ("keys", "os"), ("packages", "release"), ("packages", "kernel")}


def test_what_the_mirror_does_not_have_differs(tmp_path: Path, key: Key) -> None:
    rpm_mirror(tmp_path, ["acme-release"])
    index = tmp_path / "1/x86_64/os/repodata/repomd.xml"
    key.sign(index, index.with_name("repomd.xml.asc"))
    put(tmp_path, {"acme.asc": key.public()})
    more = [*REPOSITORIES, {"name": "updates", "path": "updates/@RELEASE@", "mirrorlist": "@NUMBER@/no-such-list"}]
    with serve(tmp_path) as mirror:
        other = told(acme("dnf", ["F" * 40], repositories=REPOSITORIES), tmp_path, mirror)
        more[1]["mirrorlist"] = f"{mirror}/list"
        found = told(acme("dnf", [fingerprint(key)], repositories=more), tmp_path, mirror)
    assert other["keys", "os"].state == DIFFERS
    assert "which is not among the facts" in other["keys", "os"].text
    assert (other["packages", "kernel"].state, other["packages", "kernel"].text) == (DIFFERS, "there is no kernel-core")
    assert found["repositories", "updates"].state == DIFFERS
    assert found["mirror lists", "updates"].state == DIFFERS
    assert found["packages", "kernel"].state == NOT_REACHED, "it may be in the repository that is not there"


def test_a_signature_of_other_bytes_is_no_proof(tmp_path: Path, key: Key) -> None:
    repomd = rpm_mirror(tmp_path, ["acme-release", "kernel-core"])
    index = tmp_path / "1/x86_64/os/repodata/repomd.xml"
    key.sign(index, index.with_name("repomd.xml.asc"))
    index.write_bytes(repomd + b"\n")
    put(tmp_path, {"acme.asc": key.public()})
    with serve(tmp_path) as mirror:
        found = told(acme("dnf", [fingerprint(key)], repositories=REPOSITORIES), tmp_path, mirror)
    assert found["keys", "os"].state != VERIFIED


def test_without_the_keys_file_nothing_is_taken_for_verified(tmp_path: Path, key: Key) -> None:
    rpm_mirror(tmp_path, ["acme-release", "kernel-core"])
    index = tmp_path / "1/x86_64/os/repodata/repomd.xml"
    key.sign(index, index.with_name("repomd.xml.asc"))
    with serve(tmp_path) as mirror:
        found = told(acme("dnf", [fingerprint(key)], repositories=REPOSITORIES), tmp_path, mirror)
    assert found["keys", "os"].state == NOT_REACHED
    assert fingerprint(key) in found["keys", "os"].text


def rpm_file(signature: bytes) -> bytes:
    """The beginning of an RPM package: a lead, and a signature header with one OpenPGP signature."""
    entry = b"".join(number.to_bytes(4) for number in (268, 7, 0, len(signature)))
    header = b"\x8e\xad\xe8\x01\0\0\0\0" + (1).to_bytes(4) + len(signature).to_bytes(4)
    return b"\xed\xab\xee\xdb" + bytes(92) + header + entry + signature


def test_of_an_unsigned_index_a_package_says_who_signs(tmp_path: Path, key: Key) -> None:
    rpm_mirror(tmp_path, ["acme-release", "kernel-core"])
    (tmp_path / "text").write_bytes(b"text")
    key.sign(tmp_path / "text", tmp_path / "text.sig", armor=False)
    package = rpm_file((tmp_path / "text.sig").read_bytes())
    put(tmp_path, {"1/x86_64/os/p/acme-release-1-1.x86_64.rpm": package, "acme.asc": key.public()})
    assert signature_keys(package) == {fingerprint(key)}
    with serve(tmp_path) as mirror:
        found = told(acme("dnf", [fingerprint(key)], repositories=REPOSITORIES), tmp_path, mirror)
        other = told(acme("dnf", ["F" * 40], repositories=REPOSITORIES), tmp_path, mirror)
    assert (found["keys", "os"].state, other["keys", "os"].state) == (NOT_REACHED, DIFFERS), "it is no whole package"


# -- the others -----------------------------------------------------------------------------------------------------


def apt_mirror(folder: Path, key: Key, names: list[str]) -> None:
    stanza = "Package: {0}\nVersion: 1\nArchitecture: amd64\nSHA256: " + "0" * 64 + "\n\n"
    packages = "".join(map(stanza.format, names)).encode()
    listed = f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages"
    release = key.clear_sign(f"Suite: 1\nSHA256:\n{listed}\n".encode())
    put(folder, {"dists/1/InRelease": release, "dists/1/main/binary-amd64/Packages.xz": lzma.compress(packages)})


APT = {"suites": ["@RELEASE@"], "security-suite": "@RELEASE@-security", "components": ["main"]}


def test_apts_suites_are_signed_text(tmp_path: Path, key: Key) -> None:
    apt_mirror(tmp_path, key, ["acme-release", "kernel-core"])
    put(tmp_path, {"acme.asc": key.public()})
    with serve(tmp_path) as mirror:
        found = told(acme("apt", [fingerprint(key)], **APT), tmp_path, mirror)
        more = told(acme("apt", [fingerprint(key)], **APT), tmp_path, mirror, security=f"{mirror}/security")
    assert {each.state for each in found.values()} == {VERIFIED}
    assert more["suites", "1-security"].state == DIFFERS


def archive(name: str, data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


def test_apks_index_is_signed_by_the_key_that_it_names(tmp_path: Path) -> None:
    text = "".join(f"C:Q1{'A' * 27}=\nP:{name}\nV:1-r0\nS:1\n\n" for name in ("acme-release", "kernel-core"))
    index = gzip.compress(archive("APKINDEX", text.encode()))
    secret = rsa.generate_private_key(65537, 2048)
    signed = archive(f".SIGN.RSA256.{APK_KEY}", secret.sign(index, PKCS1v15(), SHA256()))
    put(tmp_path, {"1/x86_64/os/APKINDEX.tar.gz": gzip.compress(signed[:1024]) + index})
    facts = {"repositories": REPOSITORIES, "key-files": ["*.rsa.pub"]}
    with serve(tmp_path) as mirror:
        without = told(acme("apk", [APK_KEY], **facts), tmp_path, mirror)
        other = told(acme("apk", ["dev@acme.invalid-ffffffff.rsa.pub"], **facts), tmp_path, mirror)
        put(tmp_path, {APK_KEY: secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)})
        found = told(acme("apk", [APK_KEY], **facts), tmp_path, mirror)
        put(
            tmp_path, {"1/x86_64/os/APKINDEX.tar.gz": gzip.compress(signed[:1024]) + index + gzip.compress(bytes(1024))}
        )
        changed = told(acme("apk", [APK_KEY], **facts), tmp_path, mirror)
    assert {each.state for each in found.values()} == {VERIFIED}
    assert (without["keys", "os"].state, APK_KEY in without["keys", "os"].text) == (NOT_REACHED, True)
    assert other["keys", "os"].state == DIFFERS
    assert changed["keys", "os"].state != VERIFIED


def test_pacmans_database_lists_names(tmp_path: Path) -> None:
    text = f"%FILENAME%\nkernel-core-1-1-any.pkg.tar.zst\n\n%SHA256SUM%\n{'0' * 64}\n"
    put(tmp_path, {"1/x86_64/os/os.db": gzip.compress(archive("kernel-core-1-1/desc", text.encode()))})
    with serve(tmp_path) as mirror:
        found = told(acme("pacman", ["F" * 40], repositories=REPOSITORIES), tmp_path, mirror)
    assert found["packages", "kernel"].state == VERIFIED
    assert found["packages", "release"].state == DIFFERS
    assert found["keys", "os"].state == NOT_REACHED


@pytest.mark.parametrize("manager", ["apt", "dnf", "zypper", "pacman", "apk"])
def test_an_unreachable_mirror_verifies_nothing(tmp_path: Path, manager: str) -> None:
    facts = {**APT, "repositories": REPOSITORIES}
    found = told(acme(manager, ["F" * 40], **facts), tmp_path, "http://127.0.0.1:1")
    assert {each.state for each in found.values()} == {NOT_REACHED}
    found = told(acme(manager, ["F" * 40], **facts), tmp_path, "")
    assert [each.state for each in found.values()] == [NOT_REACHED]


def test_a_broken_list_of_packages_is_not_reached(tmp_path: Path, key: Key) -> None:
    rpm_mirror(tmp_path, ["acme-release", "kernel-core"])
    (place,) = (tmp_path / "1/x86_64/os/repodata").glob("*-primary.xml.gz")
    place.write_bytes(place.read_bytes()[:-9])
    with serve(tmp_path) as mirror:
        found = told(acme("dnf", ["F" * 40], repositories=REPOSITORIES), tmp_path, mirror)
    assert found["packages", "kernel"].state == NOT_REACHED


def test_old_signatures_name_the_end_of_a_fingerprint() -> None:
    signers = Signers((), frozenset({"A" * 24 + "0123456789ABCDEF"}))
    assert signers.knows("0123456789ABCDEF")
    assert not signers.knows("1123456789ABCDEF")
    assert not signers.knows("BCDEF")
