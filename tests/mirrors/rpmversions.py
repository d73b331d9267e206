"""Packages of which a synthetic RPM mirror has two versions: the streams of a module, and another vendor's."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_SPEC = """\
%global __os_install_post %{{nil}}
%global debug_package %{{nil}}
%define _binary_payload w1.zstdio
Name: {name}
Version: {version}
Release: 1
Summary: {name} {version}
License: Various
AutoReqProv: no
Requires: filesystem
{tags}
%description
One of two versions.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
echo {version} > %{{buildroot}}/usr/share/{name}/version
%files
/usr/share/{name}
"""
_STREAM = """\
---
document: modulemd
version: 2
data:
  name: {name}
  stream: "{version}"
  version: 20250101
  context: "00000000"
  arch: {machine}
  summary: {name}
  description: {name}
  license:
    module: [MIT]
  profiles:
    default:
      rpms: [{name}]
  artifacts:
    rpms: ["{name}-0:{version}-1.{machine}"]
...
"""
_DEFAULT = """\
---
document: modulemd-defaults
version: 1
data:
  module: {name}
  stream: "{version}"
  profiles:
    "{version}": [default]
...
"""
STREAM_TOOL, VENDOR_TOOL = "stream-tool", "vendor-tool"
VENDORS = ("openSUSE", "SUSE LLC <https://www.suse.com/>")


@dataclass(frozen=True)
class Version:
    """One version of a package, with further ``tags`` of its spec."""

    name: str
    version: str
    tags: tuple[str, ...] = ()

    def build(self, work: Path, target: Path, machine: str, epoch: int) -> Path:
        """Build it into the folder ``target``; ``epoch`` is when, in seconds. Raises CalledProcessError."""
        spec = work / f"{self.name}-{self.version}.spec"
        spec.write_text(_SPEC.format(name=self.name, version=self.version, tags="\n".join(self.tags)))
        defines = {
            "_topdir": str(work / "top"),
            "_rpmdir": str(target),
            "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            "_buildhost": "synthetic",
            "use_source_date_epoch_as_buildtime": "1",
        }
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        command = ["env", f"SOURCE_DATE_EPOCH={epoch}", "rpmbuild", "-bb", "--target", machine, *words, str(spec)]
        subprocess.run(command, check=True, capture_output=True)
        return target / f"{self.name}-{self.version}-1.{machine}.rpm"


def streams(is_module: bool) -> tuple[Version, ...]:
    """Two versions of a tool, which are streams of a module or just two versions."""
    label = "ModularityLabel: {}:{}:20250101:00000000"
    return tuple(
        Version(STREAM_TOOL, version, (label.format(STREAM_TOOL, version),) if is_module else ())
        for version in ("1", "2")
    )


def modules(machine: str) -> str:
    """The modules' description: a stream of each version, the older one by default."""
    found = [_STREAM.format(name=STREAM_TOOL, version=version, machine=machine) for version in ("1", "2")]
    return "".join([*found, _DEFAULT.format(name=STREAM_TOOL, version="1")])


def vendors(is_other: bool) -> tuple[Version, ...]:
    """Two versions of a tool, the newer one of another vendor or of the same."""
    last = VENDORS[1] if is_other else VENDORS[0]
    return tuple(
        Version(VENDOR_TOOL, version, (f"Vendor: {vendor}",)) for version, vendor in (("1", VENDORS[0]), ("2", last))
    )
