"""What the real RPM distributions' mirrors and packages have that a builder can trip over, one property each.

A synthetic mirror has those of its distribution; any of them can be switched off (``dataclasses.replace``), which the
tests use to see that what they observe comes from it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Properties:
    """Which of the properties a mirror has.

    ``sole_database_format``: the tree's rpm knows one format of its database alone, and its package makes an empty one.
    ``merged_sbin``: /usr/sbin is a link to bin, which the package ``filesystem`` has (Fedora 42 and later).
    ``lua_pretrans``: ``filesystem`` and ``setup`` have scriptlets in Lua that run in the empty tree.
    ``system_users``: packages provide lines of sysusers.d of every kind, which rpm 4.19 and later act on before a
    package's files are there; the files belong to these users.
    ``failing_scriptlets``: a ``%post`` and a ``%posttrans`` that fail, of packages that builds install.
    ``weak_dependencies``: recommended packages, which no build asked for.
    ``rich_dependencies``: ``Requires: (a if b)``.
    ``file_dependencies``: a package is required by one of its files.
    ``module_streams``: two versions of a package as streams of a module, of which the default one is not the newest.
    ``zstd_lists``: the repositories' lists are compressed by zstd.
    ``dnf5``: the tree's dnf is a stand-in for dnf5, with its command line and folders (Fedora 41 and later).
    ``next_key``: some packages are signed with the next release's key, as around a release's branching.
    ``renewed_key``: the key that builds are given has ended, and its owner has renewed it.
    ``two_vendors``: a newer version of an installed package is another vendor's.
    ``product``: the release's package describes a product in /etc/products.d.
    ``both_signatures``: packages have RPM v6 signatures beside those of v4.
    """

    sole_database_format: bool = False
    merged_sbin: bool = False
    lua_pretrans: bool = False
    system_users: bool = False
    failing_scriptlets: bool = False
    weak_dependencies: bool = False
    rich_dependencies: bool = False
    file_dependencies: bool = False
    module_streams: bool = False
    zstd_lists: bool = False
    dnf5: bool = False
    next_key: bool = False
    renewed_key: bool = False
    two_vendors: bool = False
    product: bool = False
    both_signatures: bool = False

    def names(self) -> frozenset[str]:
        """The properties that are there."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name))


NONE = Properties()


def of(distribution: str, release: str) -> Properties:
    """What the real mirror and packages of a distribution's release are known to have."""
    number = int(release.partition("-")[0].partition(".")[0]) if release[0].isdigit() else 1000
    suse = distribution == "opensuse"
    fedora = distribution == "fedora"
    return Properties(
        sole_database_format=suse,
        merged_sbin=fedora and number >= 42,
        lua_pretrans=not suse,
        system_users=suse or (fedora and number >= 42) or (not fedora and number >= 10),
        failing_scriptlets=True,
        weak_dependencies=True,
        rich_dependencies=True,
        file_dependencies=True,
        module_streams=not suse and not fedora and number < 10,
        zstd_lists=suse or (fedora and number >= 41),
        dnf5=fedora and number >= 41,
        next_key=fedora and number == 1000,
        renewed_key=suse,
        two_vendors=suse,
        product=suse,
        both_signatures=distribution == "rhel" and number >= 10,
    )
