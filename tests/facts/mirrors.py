"""The facts of a release held against its mirrors: do addresses answer, who signs, are the packages there?

Every answer is one of three: a fact is ``verified``, it ``differs`` from what the mirror says, or it was ``not
reached`` (no answer, or no means here to check it), which is never taken for the first.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stages.distributions.facts import KEYS_FOLDER, of_release
from stages.distributions.table import Distribution
from stages.repositories.decompress import unpacked
from stages.repositories.package_index import APK, APT, PACMAN, RPM, kind_of, listed_files, lists_of, repomd_parts
from tests.facts.key_files import key_files
from tests.facts.signers import Signers, apk_signer, signature_keys

VERIFIED, DIFFERS, NOT_REACHED = "verified", "differs", "not reached"
TIMEOUT: Final = 60.0  # seconds
MOST: Final = 256 << 20  # bytes of one file


@dataclass(frozen=True)
class Answer:
    """What a mirror said to one fact: its name, what was looked at, the state, and a sentence about it."""

    fact: str
    about: str
    state: str
    text: str = ""


class NotReachedError(Exception):
    """No mirror was there to ask."""


class MissingError(Exception):
    """The mirror says that there is no such file."""


# What a list that is broken, or that the mirror does not have, gives.
_UNREADABLE = (
    *(NotReachedError, MissingError, OSError, ValueError, EOFError, KeyError),
    *(lzma.LZMAError, tarfile.TarError, zlib.error),
)


def fetch(address: str) -> bytes:
    """A file of a mirror; raises MissingError where the mirror has none, NotReachedError where none answers."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            data: bytes = answer.read(MOST + 1)
    except urllib.error.HTTPError as error:
        if error.code in (403, 404, 410):
            raise MissingError(f"{address}: {error.code}") from error
        raise NotReachedError(f"{address}: {error.code}") from error
    except (OSError, ValueError) as error:
        raise NotReachedError(f"{address}: {error}") from error
    if len(data) > MOST:
        raise NotReachedError(f"{address} is larger than {MOST} bytes")
    return data


@dataclass(frozen=True)
class Index:
    """A signed index that facts name: of which ``repository``, at which address."""

    repository: str
    address: str

    @property
    def kind(self) -> str:
        """Which kind of index it is."""
        return kind_of(self.address)


def indices(facts: Mapping[str, Any], mirror: str, security: str = "") -> Iterator[Index]:
    """The signed indices of a release below a mirror, as its facts lay them out."""
    manager, base = facts["package-manager"]["build"], mirror.rstrip("/")
    if manager == "apt":
        for suite in facts["suites"]:
            yield Index(suite, f"{base}/dists/{suite}/InRelease")
        if security and facts.get("security-suite"):
            yield Index(facts["security-suite"], f"{security.rstrip('/')}/dists/{facts['security-suite']}/InRelease")
        return
    for each in facts.get("repositories", ()):
        names = {"pacman": f"{each['name']}.db", "apk": "APKINDEX.tar.gz"}
        yield Index(each["name"], f"{base}/{each['path']}/{names.get(manager, 'repodata/repomd.xml')}")


def lists(facts: Mapping[str, Any]) -> Iterator[Index]:
    """The lists of mirrors that facts name."""
    for each in facts.get("repositories", ()):
        if address := each.get("metalink") or each.get("mirrorlist"):
            yield Index(each["name"], address)


@dataclass(frozen=True)
class Release:
    """What is held against mirrors: a distribution's release for an architecture, and the addresses of its mirrors.

    ``keys`` is the folder that files of keys are named from, ``key_files`` are those that take their place; ``get``
    reads an address.
    """

    distribution: Distribution
    release: str
    arch: str
    mirror: str
    security: str = ""
    keys: Path = KEYS_FOLDER
    key_files: tuple[Path, ...] = ()
    get: Callable[[str], bytes] = fetch

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of it."""
        return of_release(self.distribution, self.release, self.arch)

    def files(self) -> tuple[Path, ...]:
        """The files of keys that are here."""
        return self.key_files or tuple(key_files(self.distribution, self.release, self.keys))


def answers(release: Release) -> list[Answer]:
    """What the mirrors say to the facts of a release."""
    facts, found, there = release.facts, [], set[str]()
    if not release.mirror:
        return [Answer("mirror", release.distribution.title, NOT_REACHED, "no address is known")]
    signers = Signers(release.files(), frozenset(facts["keys"]))
    whole = True
    for index in indices(facts, release.mirror, release.security):
        answer, data = _index(release, index)
        found.append(answer)
        if data is None:
            whole = False
            continue
        found.append(_signer(release, index, data, signers))
        try:
            there |= _packages(release, index, data)
        except _UNREADABLE as error:
            whole = False
            found.append(Answer("packages", index.repository, NOT_REACHED, f"its list of packages: {error}"))
    found += [_list(release, index) for index in lists(facts)]
    return [*found, *_named(facts, there, whole=whole)]


def _index(release: Release, index: Index) -> tuple[Answer, bytes | None]:
    fact = "suites" if index.kind == APT else "repositories"
    try:
        data = release.get(index.address)
    except MissingError as error:
        return Answer(fact, index.repository, DIFFERS, f"there is none ({error})"), None
    except NotReachedError as error:
        return Answer(fact, index.repository, NOT_REACHED, str(error)), None
    return Answer(fact, index.repository, VERIFIED, index.address), data


def _signer(release: Release, index: Index, data: bytes, signers: Signers) -> Answer:
    """Who signs an index: one of the keys in the facts, and truly, where their files are here."""
    try:
        if index.kind == APK:
            proven = signers.verify_apk(data)
            return _judged(index, proven or {apk_signer(data)}, signers, proven=bool(proven))
        if index.kind == PACMAN:
            text = "packagers sign, whose keys those of the facts vouch for"
            return Answer("keys", index.repository, NOT_REACHED, text)
        if index.kind == RPM:
            try:
                signature = release.get(f"{index.address}.asc")
            except MissingError:
                return _of_a_package(release, index, data, signers)
            proven = signers.verify(signature, data)
            return _judged(index, proven or signature_keys(signature), signers, proven=bool(proven))
        proven = signers.verify(data)
        return _judged(index, proven or signature_keys(data), signers, proven=bool(proven))
    except _UNREADABLE as error:
        return Answer("keys", index.repository, NOT_REACHED, str(error))


def _judged(index: Index, said: Iterable[str], signers: Signers, *, proven: bool) -> Answer:
    said = sorted(filter(None, said))
    if not said:
        return Answer("keys", index.repository, DIFFERS, "it has no signature")
    known = [each for each in said if signers.knows(each)]
    if not known:
        return Answer("keys", index.repository, DIFFERS, f"{', '.join(said)} signs it, which is not among the facts")
    if not proven:
        text = f"it names {', '.join(known)}; the signature was not checked: its key is not on this machine"
        return Answer("keys", index.repository, NOT_REACHED, text)
    return Answer("keys", index.repository, VERIFIED, f"{', '.join(known)} signs it")


def _of_a_package(release: Release, index: Index, data: bytes, signers: Signers) -> Answer:
    """Of an index that nobody signs (Fedora's): who signs one of its packages, that of the release."""
    wanted = release.facts["packages"]["release"]
    wanted = wanted if isinstance(wanted, str) else wanted[0]
    place = next(
        (each for each in _rpm_places(release, index, data) if _name(RPM, each.rpartition("/")[2]) == wanted), ""
    )
    if not place:
        return Answer("keys", index.repository, NOT_REACHED, f"nobody signs the index, and it has no {wanted}")
    package = release.get(f"{_base(index)}{place}")
    said = signature_keys(package)
    return _judged(index, said, signers, proven=bool(said) and signers.verify_rpm(package))


def _base(index: Index) -> str:
    return index.address.removesuffix("repodata/repomd.xml")


def _unpacked_list(release: Release, index: Index, data: bytes) -> bytes:
    part = repomd_parts(data)["primary"]
    return release.get(f"{_base(index)}repodata/{part.path}")


def _rpm_places(release: Release, index: Index, data: bytes) -> list[str]:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(_unpacked_list(release, index, data))
        with unpacked(Path(file.name)) as pieces:
            text = b"".join(pieces)
    return [place.decode() for place in re.findall(rb"<location\b[^>]*?\bhref=[\"']([^\"']+)[\"']", text)]


def _packages(release: Release, index: Index, data: bytes) -> set[str]:
    """The names of the packages that an index lists."""
    found = set()
    for text in _texts(release, index, data):
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(text)
            found |= {_name(index.kind, each.name) for each in listed_files(index.kind, Path(file.name))}
    return found


def _texts(release: Release, index: Index, data: bytes) -> Iterator[bytes]:
    if index.kind == RPM:
        yield _unpacked_list(release, index, data)
    elif index.kind == APT:
        wanted = [f"{each}/binary-{release.arch}/Packages" for each in release.facts["components"]]
        for part in lists_of(APT, "", data):
            if any(part.path.endswith(name) for name in wanted):
                yield lzma.decompress(release.get(f"{index.address.removesuffix('InRelease')}{part.path}.xz"))
    else:
        yield data


def _name(kind: str, file: str) -> str:
    """A package's name from its file's."""
    if kind == APT:
        return file.partition("_")[0]
    return file.rsplit("-", 3 if kind == PACMAN else 2)[0]


def _list(release: Release, index: Index) -> Answer:
    """Does a list of mirrors name any?"""
    try:
        data = release.get(index.address)
    except MissingError as error:
        return Answer("mirror lists", index.repository, DIFFERS, str(error))
    except NotReachedError as error:
        return Answer("mirror lists", index.repository, NOT_REACHED, str(error))
    if re.search(rb"https?://", data):
        return Answer("mirror lists", index.repository, VERIFIED, index.address)
    return Answer("mirror lists", index.repository, DIFFERS, f"{index.address} names no mirror")


def _named(facts: Mapping[str, Any], there: set[str], *, whole: bool) -> Iterator[Answer]:
    """Are the packages of the facts among those that the indices list?"""
    for role, value in facts["packages"].items():
        names = value.split() if isinstance(value, str) else value
        missing = [name for name in names if name not in there]
        if not names:
            continue
        if not missing:
            yield Answer("packages", role, VERIFIED, " ".join(names))
        elif not whole:
            yield Answer("packages", role, NOT_REACHED, f"{' '.join(missing)}: not every list could be read")
        else:
            yield Answer("packages", role, DIFFERS, f"there is no {' '.join(missing)}")
