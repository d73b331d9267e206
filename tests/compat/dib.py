"""diskimage-builder itself, run as root on this machine: the tree that ours is compared with.

``-t tar`` also copies the tree through a disk image. The default layout has a partition, whose device comes from
kpartx and so from the device mapper, which a virtual machine or a container may lack. ``BLOCK_DEVICE`` puts the file
system straight on the loop device: DIB's own configuration language, its own code, one node less. The tree in the tar
is the same but for the root's line in ``/etc/fstab``, which has the same label and options either way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.repositories import apt_sources

ROOT = Path(os.environ.get("DIB_CTR_COMPAT_ROOT", "/var/tmp/dib-ctr-compat"))
VENV = Path(os.environ.get("DIB_CTR_COMPAT_DIB", "/var/tmp/dib-ctr-compat/dib"))
RELEASE = "trixie"  # DIB 3.43 installs it with the mmdebstrap of Debian 12 and 13; apt-key is gone but not needed
BLOCK_DEVICE = """\
- local_loop:
    name: image0
- mkfs:
    name: mkfs_root
    base: image0
    type: ext4
    label: cloudimg-rootfs
    mount:
      mount_point: /
      fstab:
        options: "defaults"
        fsck-passno: 1
"""


class DibError(Exception):
    """diskimage-builder did not finish; the text is the end of what it printed."""


def variables(release: str = RELEASE) -> dict[str, str]:
    """What both builders are given: the release, and this machine's mirror as its apt configuration has it."""
    mirror = apt_sources.debian_mirror()
    lines = [f"default:deb {mirror.archive} {release} main"]
    if mirror.security:
        lines.append(f"security:deb {mirror.security} {release}-security main")
    return {
        "DIB_RELEASE": release,
        "DIB_PYTHON_VERSION": "3",
        "DIB_DISTRIBUTION_MIRROR": mirror.archive,
        "DIB_DEBIAN_SECURITY_MIRROR": mirror.security or mirror.archive,
        "DIB_APT_SOURCES_CONF": "\n".join(lines),
    }


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]


def _detach(folder: Path) -> None:
    """Unmount what is mounted below the folder, last mounted first, and detach loop devices on files below it."""
    for point in reversed(_mounts_below(folder)):
        subprocess.run(["umount", "--lazy", point], check=False)
    listed = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"], check=False, capture_output=True, text=True
    ).stdout
    for line in listed.splitlines():
        name, _, file = line.strip().partition(" ")
        if file.strip().startswith(f"{folder}/"):
            subprocess.run(["losetup", "--detach", name], check=False)


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A folder below /var/tmp; at the end nothing is mounted or attached from it and it is gone, whatever happened."""
    ROOT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=ROOT))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        _detach(folder)
        if not _mounts_below(folder):
            shutil.rmtree(folder, ignore_errors=True)


def reference(
    elements: Sequence[str],
    given: Mapping[str, str],
    target: Path,
    packages: Sequence[str] = (),
    path: str = "",
) -> tuple[Path, float]:
    """Build the elements with diskimage-builder: the tar (``target``) and the seconds it took.

    ``given`` overrides ``variables()``; ``packages`` are installed as with ``-p``; ``path`` is an elements path
    searched before DIB's own. Its image cache is empty: each run is cold. DibError with the end of its log where it
    fails.
    """
    with workplace("dib") as folder:
        layout = folder / "block-device.yaml"
        layout.write_text(BLOCK_DEVICE)
        for each in ("tmp", "cache", "home"):
            (folder / each).mkdir()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DIB_")},
            "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "USER": "root",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "TMP_DIR": str(folder / "tmp"),
            "DIB_IMAGE_CACHE": str(folder / "cache"),
            "DIB_BLOCK_DEVICE_CONFIG": f"file://{layout}",
            "PYTHONWARNINGS": "ignore",
            **variables(),
            **given,
        }
        environment.pop("PYTHONPATH", None)
        if path:
            environment["ELEMENTS_PATH"] = path
        extra = ["-p", ",".join(packages)] if packages else []
        log, made = folder / "log", folder / target.stem  # the image's name is in its manifests
        started = time.monotonic()
        with log.open("wb") as out:
            # -n: `dib-ctr build` adds no element `base` either.
            status = subprocess.run(
                [
                    str(VENV / "bin/disk-image-create"),
                    "-n",
                    "--no-tmpfs",
                    "-t",
                    "tar",
                    "-o",
                    str(made),
                    *extra,
                    *elements,
                ],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        seconds = time.monotonic() - started
        if status != 0 or not made.with_suffix(".tar").exists():
            raise DibError(log.read_text(errors="replace")[-6000:])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made.with_suffix(".tar"), target)
        return target, seconds
