"""alpine-minimal from a synthetic mirror, up to the call of apk, and what runs after apk in a tree of its file names.

There is no build of apk where these tests run. What the synthetic mirror has for `apk.static` is a script that says how
it was called and what it found, and then fails: whether the tree that apk makes is right, these tests cannot say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from tests.integration.command import ELEMENTS, Command, Outcome, script, write_element
from tests.mirrors.apk import Key, Package, write_repository
from tests.mirrors.serve import serve

RECORDER = r"""#!/bin/sh
# Stands where apk would: says what it was given.
echo "CALLED $*"
while read -r line; do echo "REPOSITORY $line"; done < "$2/etc/apk/repositories"
for key in "$2"/etc/apk/keys/*; do echo "KEY ${key##*/}"; done
echo "CACHE $(readlink "$2/etc/apk/cache")"
if echo gone > "$2/dev/null" && [ -c "$2/dev/null" ]; then echo "DEVICE null"; fi
exit 9
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key")).made()


@pytest.fixture
def mirror(place: Path, key: Key) -> Path:
    """The folder of a synthetic mirror with the repositories of one release."""
    program = Package("apk-tools-static", "2.14.9-r2", {"sbin/apk.static": RECORDER.encode()})
    write_repository(place / "mirror/v3.22/main/x86_64", [program], key)
    write_repository(place / "mirror/v3.22/community/x86_64", [], key)
    return place / "mirror"


@pytest.fixture
def build(place: Path, mirror: Path, key: Key) -> Iterator[Callable[[], Outcome]]:
    """Builds alpine-minimal from the synthetic mirror, which a server on loopback serves."""
    keys = place / "keys"
    keys.mkdir()
    (keys / key.name).write_bytes((key.public / key.name).read_bytes())
    command = Command("host", place / "store", place / "out")
    with serve(mirror) as address:
        variables = {
            "DIB_DISTRIBUTION_MIRROR": address,
            "DIB_RELEASE": "3.22",
            "DIB_ALPINE_KEYS": str(keys),
            "ARCH": "amd64",
        }
        yield lambda: command("build", "alpine-minimal", variables=variables)


def test_apk_is_called_once_index_and_package_are_verified(build: Callable[[], Outcome], key: Key) -> None:
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "apk-tools-static 2.14.9-r2" in said
    called = said.partition("CALLED ")[2].partition("REPOSITORY")[0]
    for wanted in ("--arch x86_64", "--update-cache", "add --initdb alpine-baselayout", " bash "):
        assert wanted in called, said
    for repository in ("main", "community"):
        assert f"/v3.22/{repository}" in said.partition("REPOSITORY ")[2]
    assert f"KEY {key.name}" in said
    assert "CACHE ../../var/cache/apk" in said
    assert "DEVICE null" in said


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_tampered_index_is_refused_and_nothing_of_the_mirror_runs(build: Callable[[], Outcome], mirror: Path) -> None:
    index = mirror / "v3.22/main/x86_64/APKINDEX.tar.gz"
    changed = bytearray(index.read_bytes())
    changed[-40] ^= 0xFF
    index.write_bytes(changed)
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "APKINDEX.tar.gz is refused: its signature is not valid" in said
    assert "CALLED" not in said


def test_a_tampered_package_is_refused_and_nothing_of_it_runs(build: Callable[[], Outcome], mirror: Path) -> None:
    package = mirror / "v3.22/main/x86_64/apk-tools-static-2.14.9-r2.apk"
    changed = bytearray(package.read_bytes())
    changed[-40] ^= 0xFF
    package.write_bytes(changed)
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "apk-tools-static-2.14.9-r2.apk is refused: its data are not those" in said
    assert "CALLED" not in said


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_release_that_the_mirror_does_not_have_is_named(build: Callable[[], Outcome], mirror: Path) -> None:
    (mirror / "v3.22").rename(mirror / "v3.21")
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "/v3.22/main/x86_64/APKINDEX.tar.gz" in said
    assert "check the mirror (DIB_DISTRIBUTION_MIRROR) and the release" in said


TOOLS = """#!/bin/bash
# What busybox brings on Alpine Linux and the small tree does not have.
set -eu -o pipefail

for command in awk basename dirname; do
    cp --dereference "$(command -v "$command")" "$TARGET_ROOT/usr/bin/$command"
    ldd "$TARGET_ROOT/usr/bin/$command" | grep -oE '/[^ ]+' | while read -r library; do
        mkdir -p "$TARGET_ROOT$(dirname "$library")"
        [ -e "$TARGET_ROOT$library" ] || cp --dereference "$library" "$TARGET_ROOT$library"
    done
done
"""
# Names of Alpine's services, and commands that say how they were called.
MACHINE = """
mkdir -p /etc/{init.d,network,mkinitfs,apk} /boot /lib/modules/6.12.9-0-virt /lib/apk/db /var/cache/apk /run
touch /etc/init.d/{bootmisc,devfs,hostname,killprocs,mdev,networking,sshd,syslog} /boot/vmlinuz-virt
ln -s ../../var/cache/apk /etc/apk/cache
touch /var/cache/apk/busybox-1.37.0-r19.12345678.apk /var/log/apk.log
printf '::sysinit:/sbin/openrc sysinit\\n' > /etc/inittab
echo 'features="ata base ide scsi usb virtio ext4"' > /etc/mkinitfs/mkinitfs.conf
for package in 'musl\\nV:1.2.5-r10' 'busybox\\nV:1.37.0-r19'; do
    printf "C:Q1x\\nP:$package\\nA:x86_64\\nF:bin\\n\\n"
done > /lib/apk/db/installed
for command in rc-update mkinitfs; do
    printf '#!/bin/sh\\necho "%s $*" >> /calls\\n' "$command" > "/usr/bin/$command"
    chmod 755 "/usr/bin/$command"
done
"""
SCRIPTS = (
    "alpine-minimal/install.d/16-network",
    "alpine-minimal/post-install.d/40-initramfs",
    "alpine-minimal/post-install.d/70-openrc-runlevels",
    "apk/cleanup.d/60-undo-build-settings",
    "apk/cleanup.d/99-package-leftovers",
    "apk/finalise.d/99-write-apk-manifest",
    "enable-serial-console/install.d/20-serial-console-inittab",
    "openssh-server/post-install.d/80-enable-sshd-service",
    "openssh-server/svc-map",
)


def test_the_machine_s_settings_in_a_tree_that_looks_like_alpines(place: Path) -> None:
    """The scripts that run after apk, in a small tree with Alpine's names; OpenRC's and mkinitfs's tools record."""
    own = place / "elements"
    files = {name.partition("/")[2]: (BUILTIN / name).read_text(encoding="utf-8") for name in SCRIPTS}
    variables = "export DIB_INIT_SYSTEM=openrc FS_TYPE=xfs DIB_MANIFEST_IMAGE_DIR=/etc/dib-manifests\n"
    files |= {
        "element-deps": "svc-map\n",
        "root.d/20-tools": TOOLS,
        "install.d/05-machine": script(MACHINE),
        "environment.d/20-own.bash": variables,
    }
    write_element(own, "small-alpine", files)
    command = Command("host", place / "store", place / "out", (own, ELEMENTS))
    command.build("tiny-os", "small-alpine", "-o", "dir", "--name", "small", variables={"ARCH": "amd64"})
    tree = place / "out/small.dir"
    assert (tree / "etc/network/interfaces").read_text().splitlines()[-2:] == ["auto eth0", "iface eth0 inet dhcp"]
    assert (tree / "etc/inittab").read_text().splitlines()[-1] == "ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100"
    settings = (tree / "etc/mkinitfs/mkinitfs.conf").read_text()
    assert settings == 'features="ata base ide scsi usb virtio ext4 xfs nvme"\n'
    words = "modules=sd-mod,usb-storage,xfs rootfstype=xfs"
    assert (tree / "etc/default/grub").read_text() == f'GRUB_CMDLINE_LINUX_DEFAULT="{words}"\n'
    assert (tree / "calls").read_text().splitlines() == [
        "mkinitfs -c /etc/mkinitfs/mkinitfs.conf -o /boot/initramfs-virt 6.12.9-0-virt",
        "rc-update add devfs sysinit",
        "rc-update add mdev sysinit",
        "rc-update add bootmisc boot",
        "rc-update add hostname boot",
        "rc-update add networking boot",
        "rc-update add syslog boot",
        "rc-update add killprocs shutdown",
        "rc-update add sshd default",
    ]
    manifest = json.loads((tree / "etc/dib-manifests/dib-manifest-apk-small").read_text())
    versions = {package["package"]: package["version"] for package in manifest["packages"]}
    assert versions == {"busybox": "1.37.0-r19", "musl": "1.2.5-r10"}
    assert not (tree / "etc/apk/cache").is_symlink()
    assert list((tree / "var/cache/apk").iterdir()) == []
    assert not (tree / "var/log/apk.log").exists()
