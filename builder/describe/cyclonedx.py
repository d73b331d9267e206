"""The software bill of materials as CycloneDX 1.6, through its own library.

Its import takes a tenth of a second: whoever needs this module imports it when it is needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parseaddr
from importlib.metadata import version
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6

from builder.describe import purl
from builder.describe.image import Described, hex_of, homepage
from stages.tree.package_database import Package


def document(described: Described, digest: str) -> bytes:
    """The bill of materials of the image whose manifest has this digest (``sha256:<hex>``), as UTF-8 JSON.

    The same arguments give the same bytes: the serial number is made from the digest, the time is the image's.
    """
    image = _image(described, digest)
    system = _system(described)
    # By URL: a database may have a package twice, and a reference must be unique.
    packages = {part.bom_ref.value: part for part in (_package(each, described) for each in described.packages)}
    parts = [system, *packages.values()]
    tool = Component(type=ComponentType.APPLICATION, name="dib-ctr", version=version("dib-ctr"))
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"dib-ctr:cyclonedx:{described.name}@{digest}"),
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(described.epoch, UTC),
            component=image,
            tools=ToolRepository(components=[tool]),
        ),
        components=parts,
        # All at once: the library's register_dependency looks through all that are there for each.
        dependencies=[
            Dependency(image.bom_ref, [Dependency(part.bom_ref) for part in parts]),
            *(Dependency(part.bom_ref) for part in parts),
        ],
    )
    return JsonV1Dot6(bom).output_as_string().encode()


def _image(described: Described, digest: str) -> Component:
    url = purl.of_image(described, digest)
    return Component(
        type=ComponentType.CONTAINER,
        name=described.name,
        version=digest,
        purl=url,
        bom_ref=url.to_string(),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hex_of(digest))],
    )


def _system(described: Described) -> Component:
    release = described.os_release
    name = release.get("ID", "") or "linux"
    number = release.get("VERSION_ID", "") or release.get("VERSION_CODENAME", "")
    return Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=name,
        version=number or None,
        description=release.get("PRETTY_NAME", "") or None,
        bom_ref=f"os:{name}@{number}",
    )


def _package(package: Package, described: Described) -> Component:
    url = purl.of_package(package, described.os_release)
    site = homepage(package)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=url,
        bom_ref=url.to_string(),
        description=package.summary or None,
        supplier=_supplier(package.maintainer),
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(site))] if site else [],
    )


def _supplier(maintainer: str) -> OrganizationalEntity | None:
    name, address = parseaddr(maintainer)
    if not maintainer:
        return None
    contacts = [OrganizationalContact(email=address)] if name and "@" in address else []
    return OrganizationalEntity(name=name or maintainer, contacts=contacts)
