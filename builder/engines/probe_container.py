"""A trial container: a small image, made of the host's own programs, that can tell whether build containers work."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockdev.core import tools
from blockdev.core.errors import BuildError
from builder.engines import leftovers
from builder.engines.protocol import Engine, EngineError, StoreError

IMAGE = "localhost/dib-ctr-trial:1"
PROGRAMS = ("sh", "mkdir", "rm", "mount", "umount", "unshare")
GOOD = "dib-ctr-trial: good"
STORE = "dib-ctr-trial: store: "  # and why nothing can be made there
# What mkdir says of a disk, whichever engine asks: another choice of options, or another engine, mends none of them.
DISKS = {
    os.strerror(errno.EROFS): "the store lies on a file system that is mounted read-only",
    os.strerror(errno.ENOSPC): "the disk that holds the store is full",
    os.strerror(errno.EDQUOT): "the quota of the store's owner on its disk is used up",
}

# First id of root's map on standard output, then an overlay as stages are mounted, on the store.
SCRIPT = """
set -eu
export LC_ALL=C
read -r inside outside count < /proc/self/uid_map
echo "dib-ctr-trial: root is $outside"
if [ "$outside" = 0 ]; then echo "root of the container is root of the host" >&2; exit 1; fi
read -r name < /proc/sys/kernel/random/uuid
place=$1/trial-$name
trap 'cd /; umount "$place/merged" 2>/dev/null || true; rm -rf "$place"' EXIT
said=$(mkdir -p "$place/lower" "$place/upper" "$place/work" "$place/merged" 2>&1) || {
    echo "dib-ctr-trial: store: ${said##*: }" >&2
    exit 1
}
cd "$place" # a path may have a comma or a colon, which mean something in mount options
mount -t overlay overlay -o userxattr,volatile,lowerdir=lower,upperdir=upper,workdir=work \
    "$place/merged"
mkdir "$place/merged/made"
unshare --mount --pid --fork mount -t proc proc /proc
echo "dib-ctr-trial: good"
"""


def argv(store: str) -> tuple[str, ...]:
    """The command of a trial container whose store is mounted at ``store``."""
    return ("/bin/sh", "-c", SCRIPT, "trial", store)


def namespaced(store: str, *, direct: bool) -> tuple[str, ...]:
    """The same where the container's user opens the user namespace, unless ``direct``; there is no Python to do it."""
    if direct:
        return argv(store)
    return ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--ipc", "--fork", *argv(store))


def succeeded(engine: Engine, output: str) -> bool:
    """Whether a trial container that said this shows that build containers work.

    Raises StoreError where the store's disk is what fails: the engine may be as it should.
    """
    if GOOD in output:
        return True
    reasons = [line.partition(STORE)[2].strip() for line in output.splitlines() if STORE in line]
    if reasons and reasons[-1] in DISKS:
        raise StoreError(engine.name, DISKS[reasons[-1]], output)
    return False


def remove(engine: Engine) -> None:
    """Remove the trial image; another build, which tries the same engine at the same time, may have done so."""
    with contextlib.suppress(EngineError):
        engine.remove_image(IMAGE)


def _libraries(program: str) -> set[str]:
    return set(re.findall(r"(/\S+)", tools.run(["ldd", program]).text))


@contextmanager
def archive() -> Iterator[Path]:
    """A tar of the trial image's root file system (some MB), there as long as the context."""
    files: dict[str, str] = {}
    for name in PROGRAMS:
        program = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if program is None:
            raise BuildError(f"{name} is not there", hint="sudo apt-get install mount util-linux")
        files[f"bin/{name}"] = program
        files.update({library.lstrip("/"): library for library in _libraries(program)})
    with leftovers.scratch_file("dib-ctr-trial-", ".tar") as output:
        with tarfile.open(output, mode="w", dereference=True) as tar:
            for folder, mode in (("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o1777), ("store", 0o1777)):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                tar.addfile(entry)
            for path, source in sorted(files.items()):
                tar.add(Path(source).resolve(), path, recursive=False, filter=_plain)
        yield output


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owned by root, no setuid bit: nothing of the host's rights goes into the image."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755
    return entry
