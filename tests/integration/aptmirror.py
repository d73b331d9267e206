"""A small signed apt archive that moves, served over HTTP on loopback, and an operating system made from its packages.

Its package ``base`` has a shell, apt and dpkg, taken from this machine; mmdebstrap unpacks it without running anything
of it, so a bootstrap takes about a second.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from qemu.architecture import native
from tests.integration.command import script, write_element

SUITE = "trixie"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
COMMANDS = (
    *(
        "apt-config",
        "apt-get",
        "apt-key",
        "awk",
        "basename",
        "bash",
        "cat",
        "chmod",
        "chown",
        "cmp",
        "cp",
        "cut",
        "date",
    ),
    *("diff", "dirname", "dpkg", "dpkg-deb", "dpkg-query", "dpkg-split", "env", "find", "grep", "gpgv", "head", "id"),
    *(
        "install",
        "ldconfig",
        "ln",
        "ls",
        "mkdir",
        "mktemp",
        "mv",
        "readlink",
        "rm",
        "sed",
        "sha256sum",
        "sleep",
        "sort",
    ),
    *("sqv", "start-stop-daemon", "stat", "tail", "tar", "touch", "tr"),
)
METHODS = ("http", "file", "copy", "store", "gpgv", "sqv")


def _libraries(file: Path) -> set[str]:
    said = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout
    return {found for found in re.findall(r"(/\S+) \(0x", said) if Path(found).is_file()}


def _base_tree(root: Path) -> None:
    """The files of the package ``base``, with /bin and its like as links."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    files = [Path(found) for name in COMMANDS if (found := shutil.which(name, path=PATH))]
    files += [file for name in METHODS if (file := Path("/usr/lib/apt/methods") / name).exists()]
    for name in sorted({str(file) for file in files}.union(*map(_libraries, files))):
        place = root / (name if name.startswith("/usr") else f"/usr{name}")[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, place)
        place.chmod(0o755)
    shutil.copytree("/usr/share/dpkg", root / "usr/share/dpkg")
    (root / "usr/bin/sh").symlink_to("bash")
    for folder in ("etc", "root", "run", "tmp", "var/log", "var/tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\n")


class AptMirror:
    """The archive and its server. ``folder`` is served; the archive is ``folder``/debian, snapshots lie beside it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.archive = folder / "debian"
        self.asked: list[str] = []
        self._home = home
        self._packages: dict[str, Path] = {}
        mirror = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        home.mkdir(mode=0o700)
        subprocess.run(
            [*self._gpg(), "--passphrase", "", "--quick-generate-key", "mirror@localhost", "ed25519", "sign", "never"],
            check=True,
            capture_output=True,
        )
        self.keyring = home / "keyring.gpg"
        self.keyring.write_bytes(subprocess.check_output([*self._gpg(), "--export"]))

    def _gpg(self) -> list[str]:
        return ["gpg", "--homedir", str(self._home), "--batch", "--quiet"]

    @property
    def root(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def index(self) -> str:
        """The address of the signed index."""
        return f"{self.root}/debian/dists/{SUITE}/InRelease"

    def package(self, name: str, version: str, tree: Path | None = None) -> None:
        """Put a package into the archive; without a ``tree`` it has one file, which holds its version."""
        root = self._home / f"{name}-{version}"
        if tree is None:
            (root / "usr/share").mkdir(parents=True)
            (root / "usr/share" / name).write_text(f"{version}\n")
        else:
            tree.rename(root)
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {native()}\nMaintainer: Nobody <nobody@localhost>\n"
            f"Priority: required\nSection: misc\nDescription: a package of the tests\n"
        )
        pool = self.archive / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        for old in pool.glob(f"{name}_*"):
            old.unlink()
        file = pool / f"{name}_{version}_{native()}.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), str(file)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        shutil.rmtree(root)

    def publish(self, date: str, *, more: str = "") -> None:
        """Write and sign the indices as of ``date`` (Sat, 12 Sep 2026 07:55:41 UTC)."""
        stanzas = []
        for file in sorted((self.archive / "pool").iterdir()):
            control = subprocess.check_output(["dpkg-deb", "--field", str(file)], text=True)
            sum_ = hashlib.sha256(file.read_bytes()).hexdigest()
            stanzas.append(f"{control}Filename: pool/{file.name}\nSize: {file.stat().st_size}\nSHA256: {sum_}\n")
        dists = self.archive / "dists" / SUITE
        lists = dists / f"main/binary-{native()}"
        shutil.rmtree(dists, ignore_errors=True)
        lists.mkdir(parents=True)
        text = "\n".join(stanzas).encode()
        packed = gzip.compress(text, mtime=0)
        (lists / "Packages.gz").write_bytes(packed)  # the unpacked one is named, and not there: as in large archives
        sums = "".join(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-{native()}/{name}\n"
            for name, data in (("Packages", text), ("Packages.gz", packed))
        )
        release = dists / "Release"
        release.write_text(
            f"Origin: Tests\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {date}\n{more}Architectures: {native()}\n"
            f"Components: main\nSHA256:\n{sums}"
        )
        command = [*self._gpg(), "--clearsign", "--output", str(dists / "InRelease"), str(release)]
        subprocess.run(command, check=True, capture_output=True)
        release.unlink()

    def keep_snapshot(self, time: str) -> None:
        """Keep the archive's present state in the snapshot folder of a time stamp."""
        shutil.copytree(self.archive, self.folder / "archive" / "debian" / time)

    def write_system(self, elements: Path) -> None:
        """Write the element ``small-debian``, an operating system from this archive."""
        files = {
            "element-provides": "operating-system\n",
            "element-deps": "debootstrap\n",
            "environment.d/10-small-debian.bash": "\n".join(
                (
                    "export DISTRO_NAME=debian DIB_INIT_SYSTEM=none EFI_BOOT_DIR=none DIB_DEBIAN_COMPONENTS_WS=main",
                    f"export DIB_RELEASE={SUITE} DIB_APT_DEFAULT_KEYRING=none",
                    f'export DIB_APT_SOURCES_CONF="default:deb {self.root}/debian {SUITE} main"',
                    'export DIB_DEBOOTSTRAP_EXTRA_ARGS="--mode=chrootless --variant=custom --include=base"',
                    "",
                )
            ),
            "root.d/05-keyring": script(
                "# keys: what is signed with static/mirror.gpg",
                'cp "$TMP_HOOKS_PATH/static/mirror.gpg" "$TARGET_ROOT/mirror.gpg"',
                'echo "DIB_APT_KEYRING=$TARGET_ROOT/mirror.gpg" > "$TARGET_ROOT/.extra_settings"',
            ),
        }
        folder = write_element(elements, "small-debian", files)
        (folder / "static").mkdir()
        shutil.copy(self.keyring, folder / "static/mirror.gpg")


@contextlib.contextmanager
def serving(place: Path) -> Iterator[AptMirror]:
    """A mirror in ``place`` with the packages ``base`` and ``extra`` 1.0, as of 12 September 2026."""
    (place / "www").mkdir()
    mirror = AptMirror(place / "www", place / "gpg")
    try:
        tree = place / "base"
        _base_tree(tree)
        mirror.package("base", "1.0", tree)
        mirror.package("extra", "1.0")
        mirror.publish("Sat, 12 Sep 2026 07:55:41 UTC")
        yield mirror
    finally:
        mirror.server.shutdown()
        mirror.server.server_close()
        subprocess.run(["gpgconf", "--homedir", str(place / "gpg"), "--kill", "all"], check=False)
