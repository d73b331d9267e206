"""What ``dib-ctr doctor`` runs inside a build container: each thing that a build needs, done once for real.

Travels as text (``python3 -I -c``), so it needs the standard library alone. Prints one JSON object a line: ``name``,
``ok``, ``text`` (what the system said). The mirror's address is in $MIRROR, the store's folder the first argument.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

MAGIC = b"dib-ctr doctor"


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def root_is_mapped(_: Path) -> str:
    """Root of this container is an ordinary id of the host."""
    inside, outside = Path("/proc/self/uid_map").read_text().split()[:2]
    if os.getuid() != 0 or inside != "0":
        raise OSError("the container's user is not root inside")
    if outside == "0":
        raise OSError("root inside is root of the host")
    return f"root inside is user {outside} outside"


def overlay(folder: Path) -> str:
    """An overlay on the store, as stages are mounted."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir()
    options = f"userxattr,volatile,lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    _do("mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged")
    try:
        (folder / "merged/made").write_text("made")
        if (folder / "upper/made").read_text() != "made":
            raise OSError("what was written did not arrive in the upper folder")
    finally:
        _do("umount", f"{folder}/merged")
    return "userxattr, volatile"


def user_namespace(_: Path) -> str:
    """A user namespace in this one, as package tools open it."""
    _do("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc")
    return "opens, with mounts of its own"


def interpreter(folder: Path) -> str:
    """A binfmt_misc of this user namespace, with an interpreter that runs a file."""
    register = folder / "binfmt"
    register.mkdir()
    _do("mount", "-t", "binfmt_misc", "binfmt_misc", str(register))
    try:
        (register / "register").write_text(f":dib-ctr-doctor:M::{MAGIC.decode()}::/bin/echo:OC")
        program = folder / "program"
        program.write_bytes(MAGIC + b"\n")
        program.chmod(0o755)
        if str(program) not in _do(str(program)):
            raise OSError("the interpreter was not called")
        (register / "dib-ctr-doctor").write_text("-1")
    finally:
        _do("umount", str(register))
    return "registered and called"


def mirror(_: Path) -> str:
    """The package mirror answers from in here."""
    address = os.environ.get("MIRROR", "")
    if not address:
        raise OSError("no mirror is known")
    with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10) as answer:
        return f"{address}: {answer.status}"


CHECKS: tuple[Callable[[Path], str], ...] = (root_is_mapped, overlay, user_namespace, interpreter, mirror)


def main(store: str, leftover: str = "") -> None:
    """Make every check and report each; first remove the folder of the store in which a tiny build was tried."""
    if leftover.startswith(f"{store}/"):
        shutil.rmtree(leftover, ignore_errors=True)
    for check in CHECKS:
        folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=store))
        try:
            ok, text = True, check(folder)
        except OSError as error:
            ok, text = False, str(error)
        print(json.dumps({"name": check.__name__, "ok": ok, "text": text}), flush=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
