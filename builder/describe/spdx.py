"""The software bill of materials as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), in its JSON form.

The document is small and written here: the library for it brings an RDF stack along, and serves the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import parseaddr
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from builder.describe import purl
from builder.describe.image import Described, hex_of, homepage
from stages.outputs.formats.oci_layout import encode
from stages.tree.package_database import Package

DOCUMENT, IMAGE, SYSTEM = "SPDXRef-DOCUMENT", "SPDXRef-Image", "SPDXRef-OperatingSystem"
NAMESPACE = "https://github.com/dib-ctr/dib-ctr/spdx"
UNKNOWN = "NOASSERTION"
NOT_IN_IDENTIFIER = re.compile(r"[^A-Za-z0-9.-]+")
ADDRESS = re.compile(r"[^\s()@]+@[^\s()@]+\Z")
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def document(described: Described, digest: str) -> bytes:
    """The bill of materials of the image whose manifest has this digest (``sha256:<hex>``), as UTF-8 JSON.

    The same arguments give the same bytes: the namespace is made from the digest, the time is the image's.
    """
    parts = [_image(described, digest), _system(described), *_packages(described)]
    contained = (part["SPDXID"] for part in parts[1:])
    return encode(
        {
            "SPDXID": DOCUMENT,
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "name": described.name,
            "documentNamespace": f"{NAMESPACE}/{quote(described.name)}-{hex_of(digest)}",
            "creationInfo": {"created": described.created, "creators": [f"Tool: dib-ctr-{version('dib-ctr')}"]},
            "packages": parts,
            "relationships": [_related(DOCUMENT, "DESCRIBES", IMAGE), *_contains(contained)],
        }
    )


def _contains(parts: Iterable[str]) -> list[dict[str, str]]:
    return [_related(IMAGE, "CONTAINS", part) for part in parts]


def _related(element: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": element, "relationshipType": how, "relatedSpdxElement": other}


def _part(identifier: str, name: str, number: str, **more: Any) -> dict[str, Any]:
    """A package of the document (section 7); what nobody has looked into is said to be unknown."""
    fields = {
        "SPDXID": identifier,
        "name": name,
        "versionInfo": number,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        **more,
    }
    return {field: value for field, value in fields.items() if value != ""}


def _url(locator: str) -> list[dict[str, str]]:
    return [
        {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator},
    ]


def _image(described: Described, digest: str) -> dict[str, Any]:
    return _part(
        IMAGE,
        described.name,
        digest,
        primaryPackagePurpose="CONTAINER",
        checksums=[{"algorithm": "SHA256", "checksumValue": hex_of(digest)}],
        externalRefs=_url(purl.of_image(described, digest).to_string()),
    )


def _system(described: Described) -> dict[str, Any]:
    release = described.os_release
    number = release.get("VERSION_ID", "") or release.get("VERSION_CODENAME", "")
    return _part(
        SYSTEM,
        release.get("ID", "") or "linux",
        number,
        primaryPackagePurpose="OPERATING-SYSTEM",
        summary=release.get("PRETTY_NAME", ""),
    )


def _packages(described: Described) -> list[dict[str, Any]]:
    """The installed packages by URL, each once; an identifier that two would have gets a number."""
    urls = {purl.of_package(package, described.os_release).to_string(): package for package in described.packages}
    packages, used = [], dict[str, int]()
    for url, package in sorted(urls.items()):
        words = f"Package-{package.kind}-{package.name}-{package.architecture}"
        identifier = f"SPDXRef-{NOT_IN_IDENTIFIER.sub('-', words)}"
        used[identifier] = used.get(identifier, 0) + 1
        # Two dots in a row: no package's own name gives them, so that it meets no other identifier.
        suffix = f"..{used[identifier]}" if used[identifier] > 1 else ""
        packages.append(_package(package, identifier + suffix, url))
    return packages


def _package(package: Package, identifier: str, url: str) -> dict[str, Any]:
    built = package.source != package.name or package.source_version != package.version
    return _part(
        identifier,
        package.name,
        package.version,
        supplier=_supplier(package.maintainer),
        homepage=homepage(package),
        summary=package.summary,
        sourceInfo=f"built from the source package {package.source} {package.source_version}" if built else "",
        primaryPackagePurpose="LIBRARY" if package.section == "libs" else "",
        externalRefs=_url(url),
    )


def _supplier(maintainer: str) -> str:
    """``Organization: NAME (ADDRESS)`` (section 7.5): a maintainer may be a person, but who can tell."""
    name, address = parseaddr(maintainer)
    # Round brackets are around the address only.
    text = CONTROL.sub(" ", name or maintainer).replace("(", "[").replace(")", "]").strip()
    if not text:
        return UNKNOWN
    return f"Organization: {text} ({address})" if name and ADDRESS.match(address) else f"Organization: {text}"
