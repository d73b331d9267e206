"""Images and registries that mean harm: each is refused in one sentence, or does nothing outside of its own tree."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError, UsageError
from builder.base_image import fetch, pull
from builder.base_image.reference import Remote
from builder.inspection import limits
from builder.inspection.image import open_image
from builder.registry.client import Registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
OS_RELEASE = b"ID=debian\nVERSION_CODENAME=trixie\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"", **more: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    for field, value in more.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


def tar(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layout(folder: Path, *layers: bytes, packed: bytes | None = None) -> Path:
    """An image layout of layers; ``packed`` is what lies there of the last one instead."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, Any]:
        (blobs / digest(data).removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    stored = [put(data, LAYER) for data in layers[:-1]] + [put(packed or layers[-1], LAYER)]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest(data) for data in layers]}}
    manifest = {
        "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": stored,
    }
    index = {"manifests": [put(json.dumps(manifest).encode(), MANIFEST)]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text("{}")
    return folder


def flat(place: Path) -> dict[str, tarfile.TarInfo]:
    """The members of the archive that a build's first script unpacks."""
    found = fetch.find(f"oci:{place}", "amd64", offline=True)
    with tarfile.open(found.archive) as archive:
        return {info.name: info for info in archive}


# -- layers


def test_names_and_links_never_leave_the_tree(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    up = "../" * 12
    names = flat(
        layout(
            tmp_path / "image",
            tar(
                member("etc/os-release", data=OS_RELEASE),
                member(f"{up}{victim}/a", data=b"bad"),
                member(f"{victim}/b", data=b"bad"),
                member("out", tarfile.SYMTYPE, str(victim)),
                member("out/c", data=b"bad"),
                member("up", tarfile.SYMTYPE, f"{up}{victim}"),
                member("up/d", data=b"bad"),
                member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
            ),
            tar(
                member(f"{up}.wh.etc", data=b""),
                member(".wh...", data=b""),
                member(".wh.", data=b""),
                member("a/.wh..wh..opq", data=b""),
            ),
        )
    )
    assert list(victim.iterdir()) == []
    assert not any(".." in name.split("/") or name.startswith("/") for name in names)
    assert "null" not in names


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("x", tarfile.LNKTYPE, "/etc/shadow"), "hard link"),
        (member("x", tarfile.LNKTYPE, "../../etc/shadow"), "hard link"),
        (member("", tarfile.SYMTYPE, "/etc"), "root is a link"),
        (member("l", tarfile.SYMTYPE, "l") + member("l/f"), "in circles"),
        (member("x", b"Z"), "no layer can have"),
        (member("x", b"x", data=b"9" * (2 << 20)), "too long"),
        (member("x", b"x", data=b"10 uid=-5\n") + member("y"), "belongs to"),
        (b"x" * 512, "sound tar"),
    ],
)
def test_what_no_layer_has_is_refused(tmp_path: Path, bad: bytes, said: str) -> None:
    image = open_image(layout(tmp_path / "image", tar(member("etc/os-release", data=OS_RELEASE), bad)), "amd64")
    with pytest.raises(BuildError, match=said):
        image.contents()


@pytest.mark.parametrize("time", ["nan", "inf", "1e999999999", "-1e99", "9" * 400])
def test_times_that_are_none_are_harmless(tmp_path: Path, time: str) -> None:
    record = f" mtime={time}\n"
    length = len(record) + len(str(len(record) + 3))
    header = member("x", b"x", data=f"{length}{record}".encode())
    image = open_image(layout(tmp_path / "image", tar(header, member("y"))), "amd64")
    assert "/y" in image.contents().tree.entries


def test_a_gzip_bomb_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, "16MiB")
    plain = tar(member("bomb", data=bytes(64 << 20)))
    image = open_image(layout(tmp_path / "image", plain, packed=gzip.compress(plain)), "amd64")
    with pytest.raises(BuildError, match="larger than it may be") as raised:
        image.contents()
    assert limits.VARIABLE in raised.value.hint
    monkeypatch.setenv(limits.VARIABLE, "128MiB")
    assert image.contents().layer_bytes == (len(plain),)


def test_the_bound_is_for_all_layers_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, "3MiB")
    layers = [tar(member(f"f{number}", data=bytes([number]) * (1 << 20))) for number in range(4)]
    image = open_image(layout(tmp_path / "image", *layers), "amd64")
    with pytest.raises(BuildError, match="larger than it may be"):
        image.contents()


def test_a_bound_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, "much")
    image = open_image(layout(tmp_path / "image", tar(member("f"))), "amd64")
    with pytest.raises(UsageError, match=limits.VARIABLE):
        image.contents()


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")
def test_zstd_with_a_huge_window_takes_no_memory(tmp_path: Path) -> None:
    plain = tar(member("f", data=bytes(1000)))
    window = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00"  # 2 GiB (RFC 8878, section 3.1.1)
    image = open_image(layout(tmp_path / "image", plain, packed=window), "amd64")
    with pytest.raises(BuildError, match="zstd data"):
        image.contents()


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.Budget, "__init__", lambda self, left: self.__dict__.update(left=left, members=50))
    image = open_image(layout(tmp_path / "image", tar(*(member(f"f{number}") for number in range(60)))), "amd64")
    with pytest.raises(BuildError, match="more than"):
        image.contents()


# -- documents and archives


@pytest.mark.parametrize(
    "index",
    [
        b"[" * 100_000,
        b'{"manifests": 7}',
        b'{"manifests": [{"digest": "sha256:../../../../etc/passwd", "size": 1}]}',
        b'{"manifests": [{"digest": "' + b"sha256:" + b"0" * 64 + b'", "size": 1}]}',
        b'{"manifests": [' + b'{"digest": "x"},' * 400_000 + b"{}]}",
    ],
)
def test_bad_indexes_are_one_sentence(tmp_path: Path, index: bytes) -> None:
    place = layout(tmp_path / "image", tar(member("f")))
    (place / "index.json").write_bytes(index)
    with pytest.raises(BuildError) as raised:
        open_image(place, "amd64")
    assert len(str(raised.value)) < 2000


def test_a_docker_archive_names_no_file_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(tar(member("etc/secret")))
    place = tmp_path / "image"
    place.mkdir()
    (place / "c.json").write_text(json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ["x"]}}))
    (place / "manifest.json").write_text(json.dumps([{"Config": "c.json", "Layers": ["../secret"]}]))
    with pytest.raises(BuildError, match="missing"):
        open_image(place, "amd64")


@pytest.mark.parametrize(
    "data",
    [
        tar(member("x", b"x", data=b"12 size=-99\n") + member("y")),
        b"".join(member("x", b"x", data=b"9 path=y\n") for _ in range(3000)),
        tar(member("x", b"x", data=b"9" * (2 << 20))),
    ],
)
def test_archives_that_go_round_in_circles_end(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(data)
    with pytest.raises(BuildError):
        open_image(tmp_path / "image.tar", "amd64")


# -- registries


class Fake(Registry):
    """A registry that says what it is told to."""

    def __init__(self, manifests: dict[str, bytes], blobs: dict[str, bytes]) -> None:
        super().__init__("localhost:1")
        self.manifests, self.blobs = manifests, blobs

    def manifest(self, name: str, reference: str) -> bytes:
        return self.manifests.get(reference, b"")

    def blob(self, name: str, digest: str) -> Iterator[bytes]:
        yield self.blobs.get(digest, b"")
        if digest in self.blobs:
            while True:  # and never ends
                yield b"more"


def files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


IMAGE = Remote("localhost:1", "a", "latest")


@pytest.mark.parametrize(
    "manifest",
    [
        {"layers": [], "config": {"digest": "sha256:../../../../x", "size": 1}},
        {"layers": [], "config": {"digest": "md5:" + "0" * 32, "size": 1}},
        {"layers": [], "config": {"digest": "sha512:" + "0" * 128, "size": 1}},
        {"layers": [], "config": {"digest": "sha256:" + "0" * 64, "size": -1}},
        {"layers": [], "config": {"digest": "sha256:" + "0" * 64, "size": 1 << 40}},
        {"layers": [], "config": {"digest": "sha256:" + "0" * 64}},
        {"layers": [], "config": "x"},
        {"layers": "x", "config": {}},
        {"layers": [{}] * 2000, "config": {}},
        {"layers": None},
        {"manifests": "x"},
        {"manifests": [1, {}, {"platform": 1}, {"platform": {"os": 1}}]},
        {"manifests": [{"platform": {"os": "linux", "architecture": "amd64"}, "digest": "../x", "size": 1}]},
        [],
        "x",
    ],
)
def test_manifests_that_are_none_are_one_sentence(tmp_path: Path, manifest: object) -> None:
    registry = Fake({"latest": json.dumps(manifest).encode()}, {})
    before = files(tmp_path)
    with pytest.raises(BuildError) as raised:
        _, data = pull.resolve(registry, IMAGE, "amd64")
        pull.created(registry, IMAGE, data)
        pull.fetch(registry, IMAGE, data, tmp_path / "layout", lambda _: None)
    assert "Error" not in raised.value.what
    assert files(tmp_path) == before


def test_a_blob_that_never_ends_or_is_another_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.registry.client.pause", lambda _: None)
    good = b"{}"
    config = {"digest": digest(good), "size": len(good)}
    data = json.dumps({"layers": [], "config": config}).encode()
    for answer in (good, b"{x"):
        with pytest.raises(BuildError, match="otherwise than its digest"):
            pull.fetch(Fake({}, {digest(good): answer}), IMAGE, data, tmp_path / "layout", lambda _: None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Answers(BaseHTTPRequestHandler):
    """A server that notes what it is shown, and sends on, or says more than anybody wants to hear."""

    seen: list[str]
    to = ""

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        if self.path == "/v2/" or not self.to:
            self.send_response(200)
            self.end_headers()
            return
        self.send_response(307)
        self.send_header("Location", self.to)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Endless(Answers):
    """The same, without an end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path == "/v2/":
            return
        try:
            for _ in range(64):
                self.wfile.write(bytes(1 << 20))
        except OSError:
            self.seen.append("gone")


@pytest.fixture
def servers() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for server in made:
        server.shutdown()
        server.server_close()


def serve(servers: list[Any], kind: type[Answers], to: str = "") -> tuple[str, list[str]]:
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (kind,), {"seen": seen, "to": to}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    servers.append(server)
    return f"127.0.0.1:{server.server_port}", seen


def test_another_host_is_shown_no_credentials(servers: list[Any]) -> None:
    other, seen_there = serve(servers, Answers)
    host, seen = serve(servers, Answers, f"http://localhost:{other.rpartition(':')[2]}/x")
    registry = Registry(host, insecure=True)
    registry.ping()
    registry._session.headers["Authorization"] = "Bearer secret"
    registry.manifest("a", "latest")
    registry._send("GET", f"http://{other}/upload")
    assert "Bearer secret" in seen
    assert seen_there == ["", ""]


def test_an_answer_without_an_end_is_bounded(servers: list[Any]) -> None:
    host, _ = serve(servers, Endless)
    with pytest.raises(BuildError, match="more than 4 MiB"):
        Registry(host, insecure=True).manifest("a", "latest")


def test_a_redirect_in_circles_is_one_sentence(servers: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    host, _ = serve(servers, Answers, "/again")
    with pytest.raises(BuildError, match="does not answer"):
        Registry(host, insecure=True).manifest("a", "latest")


def test_no_way_leads_from_tls_to_plain_http() -> None:
    import requests

    answer = requests.Response()
    answer.status_code, answer.url = 302, "https://registry.example/v2/a"
    answer.headers["location"] = "http://registry.example/v2/a"
    with pytest.raises(requests.RequestException, match="from TLS"):
        Registry("registry.example")._session.get_redirect_target(answer)


def test_a_password_is_not_sent_without_tls_where_the_registry_has_it() -> None:
    registry = Registry("registry.example")
    registry._base = "https://registry.example/v2/"
    with pytest.raises(BuildError, match="without TLS"):
        registry._log_in('Bearer realm="http://registry.example/token"', "a")


def test_what_an_image_is_made_of_here_is_whole(tmp_path: Path) -> None:
    """The helper above makes sound images: the refusals are not its own faults."""
    names = flat(layout(tmp_path / "image", tar(member("etc/os-release", data=OS_RELEASE), member("f", data=b"1"))))
    assert {"etc/os-release", "f"} <= set(names)
