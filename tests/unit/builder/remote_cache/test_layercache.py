"""Caches elsewhere, as far as they are pure: options, entries, signatures, who may write, what goes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from blockdev.core.errors import UsageError
from builder.remote_cache import download, signatures
from builder.remote_cache import index as entries
from builder.remote_cache.folder import Folder
from builder.remote_cache.index import MOST, IndexEntry, digest_of, merged, read_index, write_index
from builder.remote_cache.open import Cache, is_from_fork
from builder.remote_cache.prune import prune, to_go
from builder.remote_cache.spec import parse
from stages.protocol.control import REFUSED
from stages.remote_cache.offers import chain_digest

NOW = 1_800_000_000.0
DAY = 86400.0


def entry(number: int, below: str = "", **more: object) -> IndexEntry:
    made = IndexEntry(
        key=f"{number:064x}",
        below=below or f"{number:032x}",
        layer=f"{number:010x}",
        blob=f"sha256:{number:064x}",
        size=1000,
        unpacked=10240,
        parts=("tree",),
        title=f"install/some/{number}-stage",
        created=NOW - 5 * DAY,
        used=NOW - 2 * DAY,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def test_options_are_spelled_as_buildkit_spells_them() -> None:
    found = parse("type=registry,ref=localhost:5000/team/cache:x,registry.insecure=true,mode=max", writing=True)
    assert (str(found.reference), found.insecure, found.mode) == ("localhost:5000/team/cache:x", True, "max")
    assert parse("example.org/team/cache", writing=False).kind == "registry"
    assert parse("type=local,dest=/srv/cache", writing=True) == replace(
        parse("type=dir,path=/srv/cache", writing=True), text="type=local,dest=/srv/cache"
    )
    assert parse("type=gha", writing=False).scope == "dib-ctr"
    assert parse("type=dir,path=x,key=a.pub,writers=ci+nightly", writing=False).writers == ("ci", "nightly")


@pytest.mark.parametrize(
    ("text", "writing", "word"),
    [
        ("type=s3,bucket=x", False, "no type of cache"),
        ("type=registry", False, "no ref"),
        ("type=dir,path", False, "NAME=VALUE"),
        ("type=dir,path=a,path=b", False, "twice"),
        ("type=dir,path=a,mode=max", False, "no mode"),
        ("type=dir,path=a,key=b", True, "no key"),
        ("type=dir,path=a,mode=most", True, "no mode"),
        ("type=dir,path=a,writers=ci", False, "signed entries"),
        ("type=dir,path=a,writer=ci", True, "signed entries"),
        ("type=registry,ref=localhost:5000/a,insecure=maybe", True, "true or false"),
        ("", False, "no type"),
    ],
)
def test_what_an_option_cannot_mean_is_bad_usage(text: str, writing: bool, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, writing=writing)
    assert word in str(caught.value)


def test_an_index_tells_as_much_as_its_manifests() -> None:
    one = replace(entry(1, parts=("tree", "hooks")), below="")  # the first of its plan
    two = entry(2, layer="", parts=(), writer="ci", signed_as="x/y")
    data = write_index([one, two])
    assert sorted(read_index(data), key=lambda each: each.key) == [one, two]
    for descriptor in json.loads(data)["manifests"]:
        known = {each.digest: each for each in (one, two)}[descriptor["digest"]]
        assert descriptor["size"] == len(known.manifest())
        assert json.loads(known.manifest())["layers"][0]["digest"] == known.blob


@pytest.mark.parametrize("field", ["key", "below", "layer", "blob", "size", "unpacked", "parts", "writer"])
def test_an_entry_that_is_not_what_its_digest_says_does_not_count(field: str) -> None:
    index = json.loads(write_index([entry(1, writer="ci")]))
    notes = index["manifests"][0]["annotations"]
    notes[f"{entries.PREFIX}{field}"] = {"blob": "sha256:" + "f" * 64}.get(field, "7")
    assert read_index(json.dumps(index).encode()) == []


@pytest.mark.parametrize("data", [b"{}", b"[]", b"<html>", b'{"manifests": []}', b'{"manifests": 3}'])
def test_something_else_is_no_index(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_index(data)


def test_merging_loses_no_entry_of_another_writer_and_notes_the_use() -> None:
    known = [entry(1), entry(2, used=NOW - 100)]
    both = merged(known, [entry(3)], [entry(1).identity, entry(2).identity], NOW)
    assert both is not None
    assert {each.key: each.used for each in both} == {entry(1).key: NOW, entry(2).key: NOW - 100, entry(3).key: NOW}
    assert merged(both, [entry(3)], [entry(1).identity], NOW + 60) is None


def test_a_clock_that_is_ahead_does_not_keep_an_entry_for_ever() -> None:
    found = merged([entry(1, used=NOW + 400 * DAY)], [], [entry(1).identity], NOW)
    assert found is not None
    assert found[0].used == NOW


def test_an_index_holds_what_was_used_last_where_it_cannot_hold_all() -> None:
    many = [entry(number, used=NOW - number) for number in range(MOST + 7)]
    data = write_index(many)
    assert len(data) < 4 << 20
    assert {each.key for each in read_index(data)} == {each.key for each in many[:MOST]}
    assert MOST == 3000, "what docs/shared-cache.md promises"


# -- signatures ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("good", "other"):
        private, public = folder / f"{name}.pem", folder / f"{name}.pub"
        make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)]
        subprocess.run(make, check=True, capture_output=True)
        give = ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)]
        subprocess.run(give, check=True, capture_output=True)
    return folder


def signed(keys: Path, name: str, **more: object) -> IndexEntry:
    made = replace(entry(1, signed_as="localhost:5000/team/cache"), **more)  # type: ignore[arg-type]
    return replace(made, signature=signatures.sign(made, signatures.private_key(keys / f"{name}.pem")))


def test_only_the_right_key_and_writer_count(keys: Path) -> None:
    good = signatures.public_keys(keys / "good.pub")
    mine = signed(keys, "good", writer="ci")
    assert signatures.is_signed(mine, good, ())
    assert signatures.is_signed(mine, good, ("nightly", "ci"))
    assert not signatures.is_signed(mine, good, ("nightly",))
    assert not signatures.is_signed(signed(keys, "other"), good, ())
    assert not signatures.is_signed(entry(1), good, ())
    assert not signatures.is_signed(replace(mine, signature="?"), good, ())
    for changed in ({"writer": "nightly"}, {"blob": "sha256:" + "0" * 64}, {"key": "0" * 64}, {"unpacked": 1}):
        assert not signatures.is_signed(replace(mine, **changed), good, ()), changed


def test_several_keys_may_stand_in_one_file(keys: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.pub"
    both.write_text((keys / "other.pub").read_text() + "\n" + (keys / "good.pub").read_text())
    assert signatures.is_signed(signed(keys, "good"), signatures.public_keys(both), ())


def test_openssl_checks_a_signature_as_cosign_keeps_it(keys: Path, tmp_path: Path) -> None:
    """Another program, on the very blobs that lie in the registry."""
    text, _, manifest = signatures.documents(signed(keys, "good", writer="ci"))
    layer = json.loads(manifest)["layers"][0]
    assert layer["digest"] == entries.digest_of(text)
    (tmp_path / "payload").write_bytes(text)
    decoded = subprocess.run(
        ["openssl", "base64", "-d", "-A"],
        input=layer["annotations"][signatures.SIGNATURE].encode(),
        capture_output=True,
    )
    (tmp_path / "signature").write_bytes(decoded.stdout)
    check = ["openssl", "dgst", "-sha256", "-verify", str(keys / "good.pub"), "-signature", str(tmp_path / "signature")]
    done = subprocess.run([*check, str(tmp_path / "payload")], capture_output=True, text=True)
    assert done.stdout.strip() == "Verified OK"
    assert json.loads(text)["critical"]["image"]["docker-manifest-digest"] == signed(keys, "good", writer="ci").digest


def test_keys_that_are_none_are_bad_usage(keys: Path, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "p384.pem").write_bytes(other.private_bytes(serialization.Encoding.PEM, form, plain))
    locked = serialization.BestAvailableEncryption(b"x")
    (tmp_path / "locked.pem").write_bytes(other.private_bytes(serialization.Encoding.PEM, form, locked))
    (tmp_path / "text").write_text("hello")
    for file, word in (("p384.pem", "P-256"), ("locked.pem", "password"), ("text", "no private key"), ("none", "read")):
        with pytest.raises(UsageError, match=word):
            signatures.private_key(tmp_path / file)
    with pytest.raises(UsageError, match="no public key"):
        signatures.public_keys(tmp_path / "text")
    assert hashes.SHA256().digest_size == 32


# -- who may write -------------------------------------------------------------------------------------------------


def event(tmp_path: Path, head: str | None, name: str = "pull_request") -> dict[str, str]:
    repository = {"full_name": head} if head else None
    data = {"pull_request": {"head": {"repo": repository}, "base": {"repo": {"full_name": "team/images"}}}}
    (tmp_path / "event.json").write_text(json.dumps(data))
    return {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}


def test_a_pull_request_from_a_fork_is_known(tmp_path: Path) -> None:
    assert is_from_fork(event(tmp_path, "somebody/images"))
    assert is_from_fork(event(tmp_path, "somebody/images", "pull_request_target"))
    assert is_from_fork(event(tmp_path, None)), "the fork has been deleted"
    assert is_from_fork({"GITHUB_EVENT_NAME": "pull_request"}), "nothing says from where"
    assert not is_from_fork(event(tmp_path, "team/images"))
    assert not is_from_fork({"GITHUB_EVENT_NAME": "push"})
    assert not is_from_fork({})


# -- what goes -----------------------------------------------------------------------------------------------------


def chain(numbers: range, used: float) -> list[IndexEntry]:
    """Stages on top of each other; all but the last were noted as used long ago."""
    found: list[IndexEntry] = []
    layers: list[str] = []
    for number in numbers:
        made = entry(number, used=used if number == numbers[-1] else used - 90 * DAY)
        found.append(replace(made, below=chain_digest(layers)))
        layers.append(made.layer)
    return found


def test_by_age_goes_what_nothing_that_is_used_lies_on() -> None:
    new, old = chain(range(1, 5), NOW - DAY), chain(range(11, 15), NOW - 30 * DAY)
    assert to_go([*new, *old], older_than=14 * DAY, keep_size=None, now=NOW) == old[::-1]


def test_by_size_goes_the_oldest_and_of_one_chain_the_topmost_first() -> None:
    new, old = chain(range(1, 5), NOW - DAY), chain(range(11, 15), NOW - 30 * DAY)
    assert to_go([*new, *old], older_than=None, keep_size=6000, now=NOW) == [old[3], old[2]]
    assert to_go([*new, *old], older_than=None, keep_size=8000, now=NOW) == []


def test_blobs_that_several_entries_share_count_once() -> None:
    same = [entry(number, blob="sha256:" + "a" * 64) for number in range(1, 9)]
    assert to_go(same, older_than=None, keep_size=1000, now=NOW) == []


# -- patience ------------------------------------------------------------------------------------------------------


def test_a_folder_lets_go_of_what_nothing_lists(tmp_path: Path, keys: Path) -> None:
    place, key = Folder(tmp_path / "cache"), signatures.private_key(keys / "good.pem")
    blobs = {number: f"blob {number}".encode() for number in (1, 2, 3)}
    made = {
        number: replace(entry(number, created=0.0, used=NOW), blob=digest_of(data)) for number, data in blobs.items()
    }
    made[1] = replace(made[1], writer="ci", signed_as="cache")
    made[1] = replace(made[1], signature=signatures.sign(made[1], key))
    for number, data in blobs.items():
        place.put_blob(digest_of(data), len(data), io.BytesIO(data))
        if number != 3:
            place.put_entry(made[number])
    place.change_index(lambda _: write_index([made[1]]), [])
    folder = tmp_path / "cache/blobs/sha256"
    before = {file.name for file in folder.iterdir()}
    spec = parse(f"type=dir,path={tmp_path / 'cache'}", writing=True)
    prune(spec, older_than=None, keep_size=None)
    assert {file.name for file in folder.iterdir()} == before, "a build may be about to list them"
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    prune(spec, older_than=None, keep_size=None)
    gone = before - {file.name for file in folder.iterdir()}
    assert gone == {name.removeprefix("sha256:") for name in (made[2].blob, made[2].digest, made[3].blob)}


class Trickling(Folder):
    """A place that never comes to an end."""

    def blob(self, digest: str) -> Iterator[bytes]:
        yield b"x"
        threading.Event().wait()


def test_a_blob_that_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    slow = Cache(parse(f"type=dir,path={tmp_path}", writing=False), Trickling(tmp_path), said.append)
    wanted = [entry(1).blob, entry(2).blob]
    both = {blob: [download.Candidate(slow, entry(number))] for number, blob in enumerate(wanted, 1)}
    found = download.Download(wanted, both)
    assert [found.piece(blob, 0) for blob in wanted] == [REFUSED] * 2
    assert len(said) == 1
    assert "too slow" in said[0]
    found.close()
    assert list((tmp_path / "dib-ctr/tmp").iterdir()) == []
