"""Moving an image layout to a registry with skopeo, which knows the engines' credentials, and what is attached to it.

What is attached goes by the rules of registries that know nothing of it (OCI distribution specification 1.1, "Referrers
Tag Schema"): each artifact by its digest, and a list of them under the tag ``sha256-<hex of the image's digest>``.
Registries that know more read the same from the artifacts themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockdev.core import tools
from blockdev.core.errors import BuildError, UsageError
from builder.registry import cosign as signing
from builder.registry.client import INSECURE, Registry, TransientError, with_retries
from stages.outputs.formats import media_types, oci_layout

_HOST = (
    r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|localhost|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
)
_NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(rf"({_HOST})/({_NAME}(?:/{_NAME})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?\Z")


@dataclass(frozen=True)
class Reference:
    """Where an image is to go: the registry's host with its port, the repository's name and a tag."""

    host: str
    name: str
    tag: str = "latest"

    @property
    def repository(self) -> str:
        """Host and name."""
        return f"{self.host}/{self.name}"

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """``HOST[:PORT]/NAME[:TAG]``; UsageError with what to write for anything else."""
    match = _REFERENCE.match(text.removeprefix("docker://"))
    if match:
        return Reference(match[1], match[2], match[3] or "latest")
    hint = "HOST[:PORT]/NAME[:TAG], as in localhost:5000/debian-minimal:1"
    if "@" in text:
        hint = "a digest is what a push ends with; name a tag: " + hint
    elif "/" not in text or not re.match(rf"{_HOST}/", text):
        hint = "name the registry too: " + hint
    elif text != text.lower():
        hint = "names in a registry are in lower case: " + hint
    raise UsageError(f"{text!r} is no place in a registry", hint=hint)


def _silent(_: str) -> None:
    """For those who want to hear nothing of it."""


def check(
    reference: Reference, *, insecure: bool, authfile: Path | None, on_note: Callable[[str], None] = _silent
) -> None:
    """Raise BuildError, before anything is built, where skopeo is not there, no registry answers, or it takes nothing.

    It asks the registry for an upload, which it cancels: a wrong password or name is found now, not after the build.
    """
    _skopeo()
    registry = Registry(reference.host, insecure, authfile)
    with_retries(lambda: registry.check_push(reference.name), on_note)


def _skopeo() -> str:
    program = shutil.which("skopeo")
    if program is None:
        raise BuildError("skopeo is not there, which pushes images", hint="sudo apt-get install skopeo")
    return program


# -- pushing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transfer:
    """One push: where to, and how to speak to the registry, with skopeo and about what skopeo cannot do."""

    reference: Reference
    registry: Registry
    on_note: Callable[[str], None]

    def copy(self, source: Path, tag: str, target: str) -> None:
        """Copy one entry of a layout, again where the way there fails: blobs that have arrived are not sent again."""
        with_retries(lambda: self._copy(source, tag, target), self.on_note)

    def _copy(self, source: Path, tag: str, target: str) -> None:
        """Run skopeo once."""
        words = ["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]
        words.append(f"--dest-tls-verify={'false' if self.registry.insecure else 'true'}")
        words += [f"--dest-authfile={self.registry.authfile}"] if self.registry.authfile else []
        words += [f"oci:{source}:{tag}", f"docker://{target}"]
        done = tools.run([_skopeo(), *words])
        if done.status != 0:
            raise self._explained(done.errors, target)

    def manifest(self, tag: str) -> bytes:
        """What the registry has under a tag; empty where it has nothing."""
        return with_retries(lambda: self.registry.manifest(self.reference.name, tag), self.on_note)

    def put_index(self, tag: str, index: bytes) -> None:
        """Put an index under a tag."""
        name = self.reference.name
        with_retries(lambda: self.registry.put_manifest(name, tag, index, media_types.INDEX), self.on_note)

    def _explained(self, output: str, target: str) -> BuildError:
        """What skopeo said, for a person; PassingError where trying again may be of use."""
        lines = output.strip().splitlines() or ["it gave no reason"]
        match = re.search(r'msg="((?:[^"\\]|\\.)*)"', lines[-1])
        reason = match[1].replace('\\"', '"') if match else lines[-1]
        kind, hint = BuildError, "run it again: what has arrived is not sent again"
        if re.search(r"unauthorized|authentication required|denied|no basic auth|\b40[13]\b", reason, re.IGNORECASE):
            hint = f"log in first: podman login {self.reference.host}, or --authfile FILE"
        elif re.search(r"server gave HTTP response|certificate|x509", reason):
            hint = INSECURE
        elif re.search(r"no such file|digest did not match", reason, re.IGNORECASE):
            hint = "the layout is damaged: build it again"
        else:
            kind = TransientError
        return kind(f"the registry did not take the image: {reason}", where=target, hint=hint)


def push(
    folder: Path,
    reference: Reference,
    *,
    insecure: bool = False,
    authfile: Path | None = None,
    on_note: Callable[[str], None] = _silent,
) -> str:
    """Push the one image (or the index over several) of a layout, and what is attached; returns ``NAME@DIGEST``.

    The digest is the layout's own, and is compared with what the registry has in the end. Raises BuildError.
    """
    transfer = Transfer(reference, Registry(reference.host, insecure, authfile), on_note)
    with tempfile.TemporaryDirectory(prefix="dib-ctr-push-") as name:
        source = Path(name) / "image"
        entry = json.loads((folder / "index.json").read_bytes())["manifests"][0]
        _layout(source, folder, [{**entry, "annotations": {media_types.REF_NAME: "pushed"}}])
        on_note(f"pushing {folder} to {reference}")
        # What is attached goes first: who sees the tag sees all of it.
        for listing in sorted((folder / "referrers" / "sha256").glob("*.json")):
            _push_attached(transfer, folder, listing, Path(name))
        transfer.copy(source, "pushed", str(reference))
    digest: str = entry["digest"]
    arrived = f"sha256:{hashlib.sha256(transfer.manifest(reference.tag)).hexdigest()}"
    if arrived != digest:
        raise BuildError(
            f"the registry has another image than was pushed: {arrived}, not {digest}",
            where=str(reference),
            hint="somebody else may push to the same tag",
        )
    return f"{reference.repository}@{digest}"


def _layout(target: Path, blobs: Path, entries: Sequence[dict[str, Any]]) -> None:
    """A layout with the blobs of another one and entries of its own."""
    target.mkdir()
    (target / "blobs").symlink_to((blobs / "blobs").absolute())
    shutil.copyfile(blobs / "oci-layout", target / "oci-layout")
    index = {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": list(entries)}
    (target / "index.json").write_bytes(oci_layout.encode(index))


def _push_attached(transfer: Transfer, folder: Path, listing: Path, scratch: Path) -> None:
    """Push the artifacts of one list; a registry that does not list them by itself gets the list under its tag too."""
    subject = listing.stem
    own = json.loads(listing.read_bytes())["manifests"]
    source = scratch / f"attached-{subject}"
    entries = [
        {**entry, "annotations": {media_types.REF_NAME: entry["digest"].removeprefix("sha256:")}} for entry in own
    ]
    _layout(source, folder, entries)
    for entry in own:
        name = entry["digest"].removeprefix("sha256:")
        transfer.copy(source, name, f"{transfer.reference.repository}@{entry['digest']}")
    name, digest = transfer.reference.name, f"sha256:{subject}"
    if not with_retries(lambda: transfer.registry.lists_referrers(name, digest), transfer.on_note):
        tag = f"sha256-{subject}"
        before = transfer.manifest(tag)
        index = _joined(before, own, f"{transfer.reference.repository}:{tag}")
        if before == index:
            return
        transfer.put_index(tag, index)
    transfer.on_note(f"attached {len(own)} documents to {digest[:19]}")


def _joined(before: bytes, own: Sequence[dict[str, Any]], where: str) -> bytes:
    """The list that a registry has (it may be empty), with ``own`` entries in it."""
    try:
        old = {entry["digest"]: entry for entry in (json.loads(before)["manifests"] if before else [])}
    except (ValueError, KeyError, TypeError) as error:
        hint = "no list of what is attached is there: remove that tag from the registry"
        raise BuildError("the registry has something else in the place of a list", where=where, hint=hint) from error
    listed = {**old, **{entry["digest"]: entry for entry in own}}
    entries = sorted(listed.values(), key=lambda entry: (entry.get("artifactType", ""), entry["digest"]))
    return oci_layout.encode({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": entries})


@dataclass(frozen=True)
class Pushed:
    """An image in a registry: the tag that names it, and its digest."""

    reference: Reference
    digest: str

    @property
    def pinned(self) -> str:
        """Tag and digest in one: ``HOST/NAME:TAG@sha256:...``."""
        return f"{self.reference}@{self.digest}"

    def __str__(self) -> str:
        return f"pushed: {self.reference.repository}@{self.digest} (as {self.reference.tag})"


@dataclass(frozen=True)
class Pushing:
    """A push that goes with a build: checked before it, run after it, and signed where that is wanted."""

    reference: Reference
    insecure: bool
    authfile: Path | None
    sign: bool
    key: str
    on_note: Callable[[str], None]

    def check(self) -> None:
        """Raise BuildError where the registry does not answer, or a program is not there."""
        check(self.reference, insecure=self.insecure, authfile=self.authfile, on_note=self.on_note)
        if self.sign:
            signing.check()

    def run(self, folder: Path) -> Pushed:
        """Push the layout; returns what is where."""
        image = push(folder, self.reference, insecure=self.insecure, authfile=self.authfile, on_note=self.on_note)
        if self.sign:
            signing.sign(image, key=self.key, insecure=self.insecure)
        return Pushed(self.reference, image.partition("@")[2])
