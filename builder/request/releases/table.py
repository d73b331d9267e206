"""What is known of the distributions' releases: names, ends of life, architectures. Data; ``judge`` applies it.

Sources: Debian's package distro-info-data 2026.10.12 (Debian, Ubuntu), osinfo-db 20250606 (architectures; ends of the
others), the release policies and schedules of the distributions themselves. A release without an end date has none yet,
or its distribution has not said when.
"""

from __future__ import annotations

from dataclasses import dataclass

SERVERS = ("amd64", "arm64", "ppc64el", "s390x")
ALL = ("amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x")


@dataclass(frozen=True)
class Release:
    """One release: ``name`` is what DIB_RELEASE says, ``version`` its number where the name is a word.

    ``end`` is the last day (ISO 8601) on which the distribution's own free security updates come, long-term support
    by the distribution included. ``architectures`` are Debian's names (empty: all that the distribution has).
    """

    name: str
    end: str = ""
    version: str = ""
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Distribution:
    """A distribution by its DISTRO_NAME; ``releases`` are the newest first.

    ``rolling`` are names without an end. ``newer`` (a regular expression) is the form of numbers to come, ``days`` that
    of days of an archive; ``prefix`` and ``suffix`` may be left out of a name, and ``minor`` says that a release's name
    may go on with the number of a minor one.
    """

    name: str
    title: str
    architectures: tuple[str, ...]
    releases: tuple[Release, ...] = ()
    rolling: tuple[str, ...] = ()
    newer: str = ""
    days: str = ""
    prefix: str = ""
    suffix: str = ""
    minor: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names that are known, numbered releases first."""
        return (*(release.name for release in self.releases), *self.rolling)


_NO_RISCV = tuple(name for name in ALL if name != "riscv64")
_WITH_ARMHF = ("amd64", "arm64", "armhf", "ppc64el", "s390x")
_RHEL = (Release("10", "2035-05-31"), Release("9", "2032-05-31"), Release("8", "2029-05-31"))

DISTRIBUTIONS = {
    distribution.name: distribution
    for distribution in (
        Distribution(
            "debian",
            "Debian",
            ALL,
            (
                Release("duke", "", "15"),
                Release("forky", "", "14"),
                Release("trixie", "2030-06-30", "13"),
                Release("bookworm", "2028-06-30", "12", _NO_RISCV),
                Release("bullseye", "2026-08-31", "11", _NO_RISCV),
                Release("buster", "2024-06-30", "10", _NO_RISCV),
                Release("stretch", "2022-06-30", "9", _NO_RISCV),
            ),
            rolling=("stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "experimental", "rc-buggy"),
        ),
        Distribution(
            "ubuntu",
            "Ubuntu",
            ALL,
            (
                Release("tenacious", "2028-01-20", "27.04"),
                Release("stonking", "2027-07-15", "26.10"),
                Release("resolute", "2031-05-29", "26.04"),
                Release("questing", "2026-07-09", "25.10"),
                Release("plucky", "2026-01-15", "25.04"),
                Release("oracular", "2025-07-10", "24.10"),
                Release("noble", "2029-05-31", "24.04"),
                Release("mantic", "2024-07-11", "23.10"),
                Release("jammy", "2027-06-01", "22.04"),
                Release("focal", "2025-05-29", "20.04"),
                Release("bionic", "2023-05-31", "18.04", _NO_RISCV),
                Release("xenial", "2021-04-30", "16.04", _NO_RISCV),
                Release("trusty", "2019-04-25", "14.04", _NO_RISCV),
            ),
            rolling=("devel",),
        ),
        Distribution(
            "fedora",
            "Fedora",
            SERVERS,
            (
                Release("45"),
                Release("44"),
                Release("43", "2026-12-09"),
                Release("42", "2026-05-28"),
                Release("41", "2025-12-15"),
                Release("40", "2025-05-13"),
                Release("39", "2024-11-26"),
                Release("38", "2024-05-21"),
                Release("37", "2023-12-05"),
                Release("36", "2023-05-16", "", _WITH_ARMHF),
                Release("35", "2022-12-13", "", _WITH_ARMHF),
                Release("34", "2022-06-07", "", _WITH_ARMHF),
            ),
            rolling=("rawhide",),
            newer=r"\d+",
        ),
        Distribution(
            "centos",
            "CentOS Stream",
            SERVERS,
            (
                Release("10-stream", "2030-01-01"),
                Release("9-stream", "2027-05-31"),
                Release("8-stream", "2024-05-31", "", ("amd64", "arm64", "ppc64el")),
            ),
            newer=r"\d+-stream",
            suffix="-stream",
        ),
        Distribution(
            "rocky",
            "Rocky Linux",
            (*SERVERS, "riscv64"),
            (
                Release("10", "2035-05-31"),
                Release("9", "2032-05-31", "", SERVERS),
                Release("8", "2029-05-31", "", ("amd64", "arm64")),
            ),
            newer=r"\d+(\.\d+)?",
            minor=True,
        ),
        Distribution(
            "almalinux",
            "AlmaLinux",
            SERVERS,
            (Release("10", "2035-05-31"), Release("9", "2032-05-31"), Release("8", "2029-03-01")),
            newer=r"\d+(\.\d+)?",
            minor=True,
        ),
        Distribution("rhel", "Red Hat Enterprise Linux", SERVERS, _RHEL, newer=r"\d+(\.\d+)?", minor=True),
        Distribution(
            "opensuse",
            "openSUSE",
            ALL,
            (
                Release("16.0", "2027-10-31", "", SERVERS),
                Release("15.6", "2026-04-30", "", SERVERS),
                Release("15.5", "2024-12-31", "", SERVERS),
                Release("15.4", "2023-12-07", "", SERVERS),
            ),
            rolling=("tumbleweed",),
            newer=r"\d+\.\d+",
        ),
        Distribution("arch", "Arch Linux", ("amd64",), rolling=("rolling",), days=r"\d{4}/\d{2}/\d{2}"),
        Distribution(
            "alpine",
            "Alpine Linux",
            ALL,
            (
                Release("v3.24"),
                Release("v3.23", "2027-11-01"),
                Release("v3.22", "2027-05-01"),
                Release("v3.21", "2026-11-01"),
                Release("v3.20", "2026-04-01"),
                Release("v3.19", "2025-11-01", "", _NO_RISCV),
                Release("v3.18", "2025-05-09", "", _NO_RISCV),
            ),
            rolling=("edge", "latest-stable"),
            newer=r"v\d+\.\d+",
            prefix="v",
        ),
        Distribution(
            "gentoo",
            "Gentoo",
            ALL,
            rolling=("gentoo",),
            days=r"\d{8}T\d{6}Z",  # the time of a stage 3
        ),
    )
}
