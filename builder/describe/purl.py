"""Package URLs, by which scanners know what a package is (https://github.com/package-url/purl-spec)."""

from __future__ import annotations

from collections.abc import Mapping

from packageurl import PackageURL

from builder.describe.image import Described
from stages.tree.package_database import Package

# The vendor where the tree does not say which system it is.
VENDORS = {"deb": "debian", "rpm": "fedora", "apk": "alpine", "alpm": "arch", "ebuild": "gentoo"}


def of_package(package: Package, os_release: Mapping[str, str]) -> PackageURL:
    """The URL of an installed package.

    Of type ebuild the category is the namespace; all other types of ours have the vendor as namespace. Of type rpm the
    epoch is a qualifier. ``distro`` is the vendor with its version; ``upstream`` is the source package where it is
    another one, or of another version: vulnerabilities are recorded by it.
    """
    vendor = os_release.get("ID", "") or VENDORS.get(package.kind, "")
    version = os_release.get("VERSION_ID", "") or os_release.get("VERSION_CODENAME", "")
    epoch, number = "", package.version
    if package.kind == "rpm" and ":" in number:
        epoch, _, number = number.partition(":")
    upstream = ""
    if (package.source, package.source_version) != (package.name, number):
        same = package.source_version == number
        upstream = package.source if same else f"{package.source}@{package.source_version}"
    qualifiers = {
        "arch": package.architecture,
        "epoch": epoch,
        "distro": f"{vendor}-{version}" if version else vendor,
        "upstream": upstream,
    }
    kept = {name: value for name, value in qualifiers.items() if value}
    if package.kind == "ebuild":
        category, _, name = package.name.rpartition("/")
        return PackageURL(package.kind, category, name, number, kept)
    return PackageURL(package.kind, vendor.lower(), package.name.lower(), number, kept)


def of_image(described: Described, digest: str) -> PackageURL:
    """The URL of the image itself (type oci: the version is the digest of the manifest)."""
    return PackageURL("oci", None, described.name.lower(), digest, {"arch": described.arch})
