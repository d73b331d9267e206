"""The packages of a synthetic RPM mirror by which it has its properties (:mod:`tests.mirrors.rpmproperties`)."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping

from tests.mirrors.rpmpack import EXTRA, Group, Pack

# Lines of sysusers.d(5) of every kind, and what belongs to whom.
SERVICE_USERS = """\
# A comment
g service-group -
g fixed-group 345
u service-user - "A service" /var/lib/service
u! locked-user 346 "Locked" /var/lib/locked
u grouped-user 347:fixed-group "Of a group that is there"
m service-user service-group
"""
LATE_USERS = 'u late-user - "Of a package that the tree\'s own rpm installs" /var/lib/late\n'
_PRETRANS = """\
for _, folder in ipairs({"/usr", "/usr/bin", "/usr/lib", "/var", "/var/lib", "/var/lib/made-by-pretrans"}) do
    posix.mkdir(folder)
end
if not posix.stat("/bin") then
    posix.symlink("usr/bin", "/bin")
end"""
# Where users are made before the package is there that has the files of the first ones, these lie beside it then.
_POST_SETUP = """\
for _, name in ipairs({"passwd", "shadow", "group", "gshadow"}) do
    os.remove("/etc/" .. name .. ".rpmnew")
end"""
# A stand-in for dnf5, which Debian lacks: its command line, as far as its documentation tells (of its changes from
# dnf 4, "Global options scoping"), its folders, and dnf 4 to do the work.
_DNF5 = r"""#!/bin/bash
set -eu
global=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        -y | --assumeyes | -q | --quiet | -C | --cacheonly | --nogpgcheck) global+=("$1") ;;
        --setopt=* | --releasever=* | --forcearch=* | --installroot=* | --repo=*) global+=("$1") ;;
        --enable-repo=* | --disable-repo=* | --enablerepo=* | --disablerepo=*) global+=("$1") ;;
        -*) printf 'Unknown argument "%s" for command "dnf5". Add "--help" for more information.\n' "$1" >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
case "${1:-}" in
    install | remove | upgrade | reinstall | downgrade | distro-sync) ;;
    download | module | repoquery | makecache | check | clean) ;;
    *) printf 'Unknown argument "%s" for command "dnf5". Add "--help" for more information.\n' "${1:-}" >&2; exit 2 ;;
esac
mkdir -p /usr/lib/sysimage/libdnf5 /var/cache/libdnf5
date +%s%N >> /usr/lib/sysimage/libdnf5/transaction_history.sqlite
date >> /var/log/dnf5.log
exec /usr/bin/dnf-3 --setopt=cachedir=/var/cache/libdnf5 "${global[@]}" "$@"
"""
_ACCOUNTS = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow")
# Packages that failing scriptlets are of, by who installs them.
BOOTSTRAP_FAILURE, TREE_FAILURE = "failing-post", "failing-posttrans"


def add(pack: Pack) -> None:
    """Add what the properties of ``pack`` take to its packages, all of which are there."""
    properties = pack.properties
    # What each bootstrap installs, and what the tree's own package manager does.
    first, second = pack.groups[pack.distribution.release], pack.groups[EXTRA]
    if properties.merged_sbin:
        _merge_sbin(pack)
    if properties.lua_pretrans:
        _give_accounts_to_setup(pack)
    if properties.system_users:
        _users(pack, first, second)
    if properties.failing_scriptlets:
        for name, scriptlet, group in ((BOOTSTRAP_FAILURE, "post", first), (TREE_FAILURE, "posttrans", second)):
            pack.add(name, {f"usr/share/{name}/data": "data\n"}, ("bash",))
            pack.groups[name].lines += [f"%{scriptlet} -n {name}", f"echo the work of {name} >&2", "exit 3"]
            group.depends.add(name)
    if properties.weak_dependencies:
        for name, group in (("recommended-early", first), ("recommended-late", second)):
            pack.add(name, {f"usr/share/{name}/data": "data\n"})
            group.tags.append(f"Recommends: {name}")
    if properties.rich_dependencies:
        pack.add("conditional", {"usr/share/conditional/data": "data\n"})
        for group in (first, second):
            group.tags += ["Requires: (conditional if bash)", "Requires: (nowhere if not-there)"]
    if properties.file_dependencies:
        pack.add("by-file", {"usr/bin/by-file": "#!/bin/sh\n", "usr/share/by-file/data": "data\n"})
        second.tags.append("Requires: /usr/bin/by-file")
        if properties.module_streams:  # releases 9, whose own dnf reads the list of all files, too
            first.tags.append("Requires: /usr/share/by-file/data")
    if properties.module_streams:
        second.tags.append("Requires: stream-tool")
    if properties.dnf5:
        _dnf5(pack)
    if properties.product:
        _product(pack, first)


def _merge_sbin(pack: Pack) -> None:
    sbin, into = pack.root / "usr/sbin", pack.root / "usr/bin"
    for group in pack.groups.values():
        kept = []
        for path in group.paths:
            folder, _, name = path.partition("usr/sbin/")
            if not folder and name:
                if os.path.lexists(into / name):
                    continue  # a link from the one to the other
                (sbin / name).rename(into / name)
                kept.append(f"usr/bin/{name}")
                group.tags.append(f"Provides: /usr/sbin/{name}")  # who requires it by its earlier place
            elif path != "usr/sbin":
                kept.append(path)
        group.paths = kept
    for left in sbin.iterdir():
        left.unlink()
    sbin.rmdir()
    sbin.symlink_to("bin")
    pack.groups["filesystem"].paths.append("usr/sbin")


def _give_accounts_to_setup(pack: Pack) -> None:
    filesystem, setup = pack.groups["filesystem"], pack.groups["setup"]
    filesystem.paths = [path for path in filesystem.paths if path not in _ACCOUNTS]
    setup.paths += [path for path in _ACCOUNTS if (pack.root / path).exists()]
    setup.owners |= dict.fromkeys(_ACCOUNTS, "root,root")
    setup.depends.clear()
    filesystem.tags.append("Requires(pre): setup")
    filesystem.lines += ["%pretrans -n filesystem -p <lua>", _PRETRANS]
    setup.lines += ["%pretrans -n setup -p <lua>", 'posix.mkdir("/etc")', "%post -n setup -p <lua>", _POST_SETUP]


def _dnf5(pack: Pack) -> None:
    dnf = pack.groups["dnf"]
    dnf.paths.remove("usr/bin/dnf")
    dnf.depends.add("dnf5")
    pack.add("dnf5", {"usr/bin/dnf5": _DNF5, "usr/bin/dnf": "->dnf5"}, ("bash", "coreutils"))


def _users(pack: Pack, first: Group, second: Group) -> None:
    files = {
        "var/lib/service/state": "service-user,service-user",
        "var/lib/locked/state": "locked-user,fixed-group",
        "usr/bin/service-tool": "root,service-group",
    }
    _service(pack, "service-users", SERVICE_USERS, files)
    (pack.root / "usr/bin/service-tool").chmod(0o2755)
    _service(pack, "late-users", LATE_USERS, {"var/lib/late/state": "late-user,late-user"})
    first.depends.add("service-users")
    second.depends.add("late-users")
    if "setup" in pack.groups:
        text = "".join(_account_lines(pack))
        pack.write("usr/lib/sysusers.d/20-setup.conf", text.encode())
        pack.groups["setup"].paths.append("usr/lib/sysusers.d/20-setup.conf")
        pack.groups["setup"].tags += _provides(text)


def _account_lines(pack: Pack) -> Iterator[str]:
    """The accounts of the tree as lines of sysusers.d."""
    for line in (pack.root / "etc/group").read_text().splitlines():
        name, _, number, _ = line.split(":")
        yield f"g {name} {number}\n"
    for line in (pack.root / "etc/passwd").read_text().splitlines():
        name, _, user, group, title, home, shell = line.split(":")
        yield f'u {name} {user}:{group} "{title.strip(",")}" {home} {shell}\n'


def _service(pack: Pack, name: str, lines: str, files: Mapping[str, str]) -> None:
    pack.add(name, {f"usr/lib/sysusers.d/{name}.conf": lines, **dict.fromkeys(files, "#!/bin/sh\n")}, ("bash",))
    group = pack.groups[name]
    for path, owner in files.items():
        group.owners[path] = owner
        if path.startswith("var/lib/"):
            folder = path.rpartition("/")[0]
            (pack.root / folder).chmod(0o750)
            group.paths.append(folder)
            group.owners[folder] = owner
    group.tags += _provides(lines)
    group.tags += sorted({f"Requires: user({owner.split(',')[0]})" for owner in files.values() if "root" not in owner})


def _provides(lines: str) -> Iterator[str]:
    """What rpmbuild 4.19 and later provides for a file of sysusers.d: each line, in base64, by what it makes."""
    for line in lines.splitlines():
        if not line or line.startswith("#"):
            continue
        kind, name, third = line.split()[:3]
        text = " ".join(line.split()).encode()
        encoded = base64.b64encode(text + b"\0" * (-len(text) % 3)).decode()
        made = {"g": f"group({name})", "m": f"groupmember({name}/{third})"}.get(kind, f"user({name})")
        yield f"Provides: {made} = {encoded}"
        if kind.startswith("u"):
            yield f"Provides: group({name})"


def _product(pack: Pack, release: Group) -> None:
    version = pack.release
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<product schemeversion="0">\n  <vendor>openSUSE</vendor>\n'
        f"  <name>openSUSE</name>\n  <version>{version}</version>\n  <release>1</release>\n"
        f"  <arch>{pack.distribution.machine.rpm}</arch>\n  <productline>openSUSE</productline>\n"
        f"  <summary>openSUSE</summary>\n  <register><target>openSUSE</target></register>\n</product>\n"
    )
    for path, content in (
        ("etc/products.d/openSUSE.prod", text),
        ("etc/products.d/baseproduct", "->openSUSE.prod"),
    ):
        pack.write(path, content.encode())
        release.paths.append(path)
    release.paths.append("etc/products.d")
    release.tags += ["Provides: product() = openSUSE", f"Provides: product(openSUSE) = {version}-1"]
