"""Which package has which file, sums by package and directory, two images side by side, and what is printed of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli import main
from builder.inspection import render
from builder.inspection.image import open_image
from builder.inspection.packages import is_database, ownership
from builder.inspection.size import NO_PACKAGE, Share, Size, by_directory, compare, largest, measure
from builder.inspection.tree import FILE, FOLDER, Tree, TreeEntry
from tests.unit import handmade_images as made
from tests.unit.handmade_images import Item, folder, hard, link

INFO = "var/lib/dpkg/info"


def lines(*texts: str) -> bytes:
    """A file of lines."""
    return ("\n".join(texts) + "\n").encode()


def stanza(name: str, version: str = "1", architecture: str = "amd64", status: str = "install ok installed") -> str:
    """A package in dpkg's status."""
    return f"Package: {name}\nStatus: {status}\nArchitecture: {architecture}\nVersion: {version}\n"


def dpkg(*stanzas: str) -> Item:
    """dpkg's status."""
    return Item("var/lib/dpkg/status", "\n".join(stanzas).encode())


def packages(path: Path, *layers: list[Item]) -> dict[str, tuple[str, int, int]]:
    """By the package's name: its version, bytes and files (but for the databases themselves)."""
    found = measure(open_image(made.image(path / "image.oci", *layers)))
    return {
        share.name: (share.version, share.bytes, share.files) for share in found.packages if share.name != NO_PACKAGE
    }


def test_dpkg(tmp_path: Path) -> None:
    """Lists name folders and links too; /bin is a link; libc6 is there twice; of `gone` its configuration is left."""
    found = packages(
        tmp_path,
        [folder("usr"), folder("usr/bin"), link("bin", "usr/bin"), Item("usr/bin/tool", b"12345"), Item("own", b"1")],
        [
            dpkg(
                stanza("tool", "2.0"),
                stanza("libc6", "3"),
                stanza("libc6", "3", "i386"),
                stanza("gone", status="deinstall ok config-files"),
                stanza("empty"),
            ),
            Item(f"{INFO}/tool.list", lines("/.", "/usr", "/usr/bin", "/bin", "/bin/tool", "/usr/share/doc/tool")),
            Item(f"{INFO}/libc6:amd64.list", lines("/lib64/libc.so")),
            Item(f"{INFO}/libc6:i386.list", lines("/lib/libc.so", "/lib/libc.so.6")),
            Item(f"{INFO}/gone.list", lines("/etc/gone")),
            Item("lib64/libc.so", b"64"),
            Item("lib/libc.so", b"386"),
            hard("lib/libc.so.6", "lib/libc.so"),
            Item("etc/gone", b"left"),
        ],
    )
    assert found == {
        "tool": ("2.0", 5, 2),
        "libc6": ("3", 2, 1),
        "libc6:i386": ("3", 3, 2),
        "empty": ("1", 0, 0),
    }


def test_diversions_of_dpkg(tmp_path: Path) -> None:
    """The file of the package that diverts stays, those of others moved."""
    found = packages(
        tmp_path,
        [
            dpkg(stanza("dash"), stanza("diverter")),
            Item("var/lib/dpkg/diversions", lines("/bin/sh", "/bin/sh.distrib", "diverter")),
            Item(f"{INFO}/dash.list", lines("/bin/sh")),
            Item(f"{INFO}/diverter.list", lines("/bin/sh")),
            Item("bin/sh", b"new"),
            Item("bin/sh.distrib", b"older"),
        ],
    )
    assert found == {"dash": ("1", 5, 1), "diverter": ("1", 3, 1)}


def test_images_without_dpkg_that_have_its_packages(tmp_path: Path) -> None:
    """status.d, and the lists of checksums beside."""
    found = packages(
        tmp_path,
        [
            Item("var/lib/dpkg/status.d/base", b"Package: base\nVersion: 7\nArchitecture: all\n"),
            Item("var/lib/dpkg/status.d/base.md5sums", lines(f"{'0' * 32}  etc/base", f"{'1' * 32}  usr/with space")),
            Item("etc/base", b"123"),
            Item("usr/with space", b"4"),
        ],
    )
    assert found == {"base": ("7", 4, 2)}


@pytest.mark.parametrize("place", ["lib", "usr/lib"])
def test_apk(tmp_path: Path, place: str) -> None:
    """One file tells of packages, folders and files; /lib may be a link."""
    database = lines(
        "P:musl",
        "V:1.2-r0",
        "A:x86_64",
        "F:lib",
        "R:ld-musl.so",
        "Z:Q1",
        "F:usr/share/musl",
        "R:doc",
        "",
        "P:none",
        "V:1",
    )
    linked = [link("lib", "usr/lib")] if place == "usr/lib" else []
    found = packages(
        tmp_path,
        [
            *linked,
            Item(f"{place}/apk/db/installed", database),
            Item(f"{place}/ld-musl.so", b"12"),
            Item("usr/share/musl/doc", b"3"),
        ],
    )
    assert found == {"musl": ("1.2-r0", 3, 2), "none": ("1", 0, 0)}


def test_pacman(tmp_path: Path) -> None:
    """A folder for each package, whose name has the version; its list of files ends at an empty line."""
    local = "var/lib/pacman/local/linux-api-headers-6.1-2"
    found = packages(
        tmp_path,
        [
            Item(
                f"{local}/desc",
                lines("%NAME%", "linux-api-headers", "", "%VERSION%", "6.1-2", "", "%ARCH%", "x86_64", ""),
            ),
            Item(f"{local}/files", lines("%FILES%", "usr/", "usr/include/a.h", "", "%BACKUP%", "etc/b\t00")),
            Item("usr/include/a.h", b"12"),
            Item("etc/b", b"3"),
        ],
    )
    assert found == {"linux-api-headers": ("6.1-2", 2, 1)}


def test_portage(tmp_path: Path) -> None:
    """A folder for each package, whose name has the version; blanks in a path are its own."""
    vardb = "var/db/pkg/app-misc/a-tool-1.2-r3"
    contents = lines("dir /usr", "obj /usr/a tool 0123 1760000000", "sym /usr/b -> a tool 1760000000")
    found = packages(
        tmp_path,
        [
            Item(f"{vardb}/SIZE", b"5\n"),
            Item(f"{vardb}/CONTENTS", contents),
            Item("usr/a tool", b"12"),
            link("usr/b", "a tool"),
            Item("usr/c", b"3"),
        ],
    )
    assert found == {"app-misc/a-tool": ("1.2-r3", 2, 2)}


def test_a_damaged_rpm_database_is_said_to_be_unread(tmp_path: Path) -> None:
    """A note in the report, and no list of packages that would be wrong."""
    path = made.image(tmp_path / "image.oci", [Item("usr/lib/sysimage/rpm/rpmdb.sqlite", b"x"), Item("etc/a")])
    found = measure(open_image(path))
    text = render.answer([found], ())
    assert "/usr/lib/sysimage/rpm cannot be read" in text
    assert "(no package)" not in text
    assert "/usr/lib" in text


def test_databases_are_found_behind_links_only_where_they_are_meant(tmp_path: Path) -> None:
    """A file that a later layer replaced or removed does not count."""
    first = [dpkg(stanza("old")), Item(f"{INFO}/old.list", lines("/a")), Item("a", b"1")]
    assert packages(tmp_path, first, [dpkg(stanza("new")), Item(f"{INFO}/.wh.old.list")]) == {"new": ("1", 0, 0)}
    assert is_database("/var/lib/dpkg/info/x.list")
    assert not is_database("/var/lib/dpkg/info/x.md5sums")


# -- sums -------------------------------------------------------------------------------------------------

NAMES = st.text("abc", min_size=1, max_size=2)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))


@given(st.dictionaries(PATHS, st.integers(0, 10**12)), st.integers(0, 6))
def test_directories_sum_up_to_the_whole(files: dict[str, int], depth: int) -> None:
    """Each file counts in one directory, which is above it and no deeper than asked."""
    entries = {
        path: TreeEntry(FILE, 0o644, 0, 0, 0, length=length, member=number)
        for number, (path, length) in enumerate(sorted(files.items()))
    }
    found = by_directory(Tree({"/": TreeEntry(FOLDER, 0o755, 0, 0, 0, layer=9), **entries}), depth)
    assert sum(share.bytes for share in found) == sum(files.values())
    assert sum(share.files for share in found) == len(files)
    assert [share.bytes for share in found] == sorted((share.bytes for share in found), reverse=True)
    for share in found:
        inside = [length for path, length in files.items() if path.startswith(share.name.rstrip("/") + "/")]
        assert share.bytes <= sum(inside)
        assert share.name == "/" or share.name.count("/") <= depth


def test_files_above_the_depth_are_their_directorys_own() -> None:
    """A row of `/usr` beside one of `/usr/bin` has what is in neither of its folders."""
    sizes = {"/a": 1, "/usr/b": 2, "/usr/bin/c": 4, "/usr/bin/d/e": 8}
    entries = {path: TreeEntry(FILE, 0, 0, 0, 0, length=length, member=length) for path, length in sizes.items()}
    assert by_directory(Tree(entries)) == (Share("/usr/bin", 12, 2), Share("/usr", 2, 1), Share("/", 1, 1))
    assert by_directory(Tree(entries), 0) == (Share("/", 15, 4),)


SHARES = st.lists(
    st.builds(Share, NAMES, st.integers(0, 1000), st.integers(0, 9)), max_size=9, unique_by=lambda s: s.name
)


@given(SHARES, st.integers(0, 9))
def test_the_rest_is_summed_up(shares: list[Share], count: int) -> None:
    """Nothing gets lost, and no line stands for one line."""
    found = largest(shares, count)
    assert sum(share.bytes for share in found) == sum(share.bytes for share in shares)
    assert sum(share.files for share in found) == sum(share.files for share in shares)
    assert not count or len(found) <= count + 1
    assert "(1 more)" not in [share.name for share in found]


def sized(*shares: Share) -> Size:
    """An image of these packages."""
    return Size(Path("x"), "sha256:0", "linux/amd64", 0, sum(s.bytes for s in shares), 0, shares, (), ())


@given(SHARES, SHARES)
def test_changes_add_up(before: list[Share], after: list[Share]) -> None:
    """What each package grew by sums up to what the image did; back again it is the opposite."""
    found = compare(sized(*before), sized(*after))
    assert sum(change.bytes for change in found.packages) == found.after.uncompressed - found.before.uncompressed
    back = compare(sized(*after), sized(*before)).packages
    assert {change.name: -change.bytes for change in back} == {change.name: change.bytes for change in found.packages}
    assert not compare(sized(*before), sized(*before)).packages


def test_kinds_of_change() -> None:
    """Added, removed, grown, shrunk, and another version of the same size."""
    before = sized(
        Share("a", 5, 1, "1"), Share("b", 5, 1, "1"), Share("c", 5, 1, "1"), Share("d", 5, 1, "1"), Share("e", 5, 1)
    )
    after = sized(
        Share("b", 9, 1, "2"), Share("c", 3, 1, "1"), Share("d", 5, 1, "2"), Share("e", 5, 1), Share("f", 1, 1)
    )
    found = compare(before, after)
    assert [(change.name, change.kind, change.bytes) for change in found.packages] == [
        ("a", "removed", -5),
        ("b", "grown", 4),
        ("c", "shrunk", -2),
        ("f", "added", 1),
        ("d", "changed", 0),
    ]
    text = render.comparison(found, ("package",))
    assert ["b", "grown", "5", "B", "9", "B", "+4", "B", "1", "->", "2"] in [line.split() for line in text.split("\n")]


# -- the command ---------------------------------------------------------------------------------------------


def example(path: Path, *more: Item) -> Path:
    """An image with a package."""
    return made.image(
        path,
        [
            dpkg(stanza("tool", "2.0")),
            Item(f"{INFO}/tool.list", lines("/usr/bin/tool")),
            Item("usr/bin/tool", b"t" * 5000),
        ],
        [Item("etc/motd", b"hi"), *more],
    )


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Totals and tables, aligned."""
    assert main(["size", str(example(tmp_path / "a.oci")), "--by", "all"]) == 0
    text = capsys.readouterr().out
    assert "uncompressed  5.1 kB in 4 files" in text
    rows = text.split("\n\n")
    assert rows[1].split("\n")[0].split() == ["package", "version", "size", "files"]
    assert rows[1].split("\n")[1].split() == ["tool", "2.0", "5.0", "kB", "98.2", "%", "1"]
    assert rows[2].split("\n")[1].split() == ["/usr/bin", "5.0", "kB", "98.2", "%", "1"]
    compressed = (tmp_path / "a.oci" / open_image(tmp_path / "a.oci").layers[1].blob.name).stat().st_size
    assert rows[3].split("\n")[2].split() == ["2", str(compressed), "B", "10.2", "kB", "layer", "2"]


def test_json_has_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever --top says."""
    assert main(["size", str(example(tmp_path / "a.oci")), "--json", "--top", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["uncompressed"] == sum(share["bytes"] for share in found["packages"])
    assert {share["name"]: share["version"] for share in found["packages"]} == {"tool": "2.0", "(no package)": ""}
    assert [layer["created_by"] for layer in found["layers"]] == ["layer 1", "layer 2"]


def test_two_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side, as text and as JSON."""
    images = [str(example(tmp_path / "a.oci")), str(example(tmp_path / "b.oci", Item("srv/x", b"x" * 3000)))]
    assert main(["size", *images]) == 0
    rows = [line.split() for line in capsys.readouterr().out.split("\n")]
    assert ["(no", "package)", "grown"] in [row[:3] for row in rows]
    assert ["/srv", "added", "3.0", "kB", "+3.0", "kB"] in rows
    assert main(["size", *images, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["kind"], each["bytes"]) for each in found["directories"]] == [("/srv", "added", 3000)]


def test_names_cannot_harm_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and bytes that are no UTF-8 are escaped."""
    odd = b"a\xff\x1b[31m\xc3\xa4".decode("utf-8", "surrogateescape")
    assert main(["size", str(made.image(tmp_path / "a.oci", [Item(f"{odd}/x", b"1")]))]) == 0
    assert "/a\\xff\\x1b[31mä " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing", "text", "."])
def test_a_path_that_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Ends with 2."""
    (tmp_path / "text").write_text("text")
    assert main(["size", str(tmp_path / name)]) == 2
    assert "an image is an OCI layout" in capsys.readouterr().err


def test_a_damaged_image_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ends with 1, and the second image is checked before the first is read."""
    path = example(tmp_path / "a.oci")
    file = path / open_image(path).layers[1].blob.name
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert main(["size", str(path)]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert main(["size", str(path), str(tmp_path)]) == 2


def test_ownership_of_a_tree_without_databases() -> None:
    """Nothing is owned."""
    found = ownership(Tree({"/": TreeEntry(FOLDER, 0o755, 0, 0, 0)}))
    assert (found.packages, dict(found.owners), found.unread) == ((), {}, ())
