"""diskimage-builder's command lines, and what they come to."""

from __future__ import annotations

import io
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError, UsageError
from builder.commands.dib import set_aside
from builder.fleet.schedule import at_a_time
from builder.frontends.dib import image_lists
from builder.frontends.dib.arguments import Asked, parse
from builder.frontends.dib.environment import variables_in
from builder.frontends.dib.log_output import logged, stamped
from builder.frontends.dib.translate import Translation, break_options, checksums_of, elements_of, translate

HERE = str(Path.cwd())


def told(*argv: str, **environment: str) -> Translation:
    return translate(parse("disk-image-create", argv), argv, environment, "amd64", Path("/scratch"), ramdisk=False)


def outputs(translation: Translation) -> list[str]:
    return [output.replace(HERE, "HERE") for output in translation.options.outputs]


def test_options_may_stand_anywhere_and_be_cut_short() -> None:
    asked = parse("c", ["vm", "-x", "--check", "debian-minimal", "-xo", "name", "--image-si", "5", "-p", "a,b", "-pc"])
    assert asked == Asked(
        elements=("vm", "debian-minimal"),
        name="name",
        packages=("a", "b", "c"),
        trace=2,
        checksum=True,
        values={"image-size": "5"},
    )
    assert parse("c", ["--", "-x"]).elements == ("-x",)


@pytest.mark.parametrize("argv", [["--image"], ["--no-such"], ["-o"], ["-z"], ["--image-size"], ["--offline=1"]])
def test_what_getopt_would_not_take(argv: list[str]) -> None:
    with pytest.raises(BuildError) as caught:
        parse("disk-image-create", argv)
    assert caught.value.exit_status == 1
    assert caught.value.what.startswith("disk-image-create: option")


FLAGS = ("-x", "-u", "-n", "-xu", "--offline", "--off", "--checksum", "--")
WITH_VALUES = ("-a", "-o", "-t", "-p", "--image-size", "--root-label", "--mkfs-options", "--image-size=4", "-p1")
WORDS = st.sampled_from(
    [*FLAGS, *WITH_VALUES, "arm64", "out", "raw,tar", "3", "vm", "debian-minimal", "-i 4", "", "a b"]
)


@given(st.lists(WORDS, max_size=7))
def test_words_are_read_as_getopt_reads_them(argv: list[str]) -> None:
    longs = (
        "checksum,no-tmpfs,offline,help,version,min-tmpfs:,image-size:,image-cache:,max-online-resize:,mkfs-options:,"
    )
    longs += "qemu-img-options:,ramdisk-element:,root-label:,install-type:,docker-target:,logfile:"
    command = ["getopt", "-o", "a:ho:t:xucnp:", "-l", longs, "-n", "c", "--", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        with pytest.raises(BuildError):
            parse("c", argv)
        return
    script = f'set -- {done.stdout.strip()}; while [ "$1" != -- ]; do shift; done; shift; printf \'%s\\n\' "$@"'
    rest = subprocess.check_output(["bash", "-c", script], text=True).split("\n")[:-1]
    # An option's value may be two dashes; then the shell's loop above ends too early.
    if "-- --" not in done.stdout and "'--'" not in done.stdout:
        assert list(parse("c", argv).elements) == [word for argument in rest for word in argument.split()]


@pytest.mark.parametrize(
    ("asked", "arch", "expected"),
    [
        (("vm", "debian-minimal"), "amd64", "base vm debian-minimal block-device-mbr"),
        (("vm", "debian-minimal"), "arm64", "base vm debian-minimal block-device-efi"),
        (("vm", "block-device-gpt"), "amd64", "base vm block-device-gpt"),
        (("debian-minimal",), "amd64", "base debian-minimal"),
        (("base", "debian-minimal"), "amd64", "base debian-minimal"),
    ],
)
def test_the_elements_that_are_added(asked: tuple[str, ...], arch: str, expected: str) -> None:
    assert " ".join(elements_of(Asked(elements=asked), {}, arch, ramdisk=False)) == expected


def test_the_elements_of_a_ramdisk() -> None:
    asked = Asked(elements=("debian-minimal",), skip_base=True)
    assert elements_of(asked, {}, "amd64", ramdisk=True) == ("ramdisk", "debian-minimal")
    own = Asked(elements=("debian-minimal",), values={"ramdisk-element": "dracut-ramdisk"})
    assert elements_of(own, {"RAMDISK_ELEMENT": "x"}, "amd64", ramdisk=True)[0] == "dracut-ramdisk"
    assert elements_of(Asked(elements=("a",)), {"RAMDISK_ELEMENT": "x"}, "amd64", ramdisk=True)[0] == "x"


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        ((), {}, ["qcow2,dest=HERE/image.qcow2,checksum=none,compress=zlib"]),
        (("-u",), {}, ["qcow2,dest=HERE/image.qcow2,checksum=none,compress=none"]),
        (("-o", "/x/a.qcow2"), {}, ["qcow2,dest=/x/a.qcow2,checksum=none,compress=zlib"]),
        (("-o", "a.tar", "-t", "tar"), {}, ["tar,dest=HERE/a.tar,prefix=."]),
        (("-t", "tgz", "--checksum"), {}, ["tar,dest=HERE/image.tgz,checksum=sha256+md5,prefix=.,compress=gzip"]),
        (("-t", "raw"), {"IMAGE_NAME": "b", "DIB_CHECKSUM": "sha256"}, ["raw,dest=HERE/b.raw,checksum=sha256"]),
        (("-t", "raw"), {"DIB_CHECKSUM": "1"}, ["raw,dest=HERE/image.raw,checksum=sha256+md5"]),
        (
            ("-t", "vmdk,tar", "--qemu-img-options", "a=1,b=2", "-o", "x.vmdk"),
            {},
            ["vmdk-sparse,dest=HERE/x.vmdk.vmdk,checksum=none,qemu.a=1,qemu.b=2", "tar,dest=HERE/x.vmdk.tar,prefix=."],
        ),
    ],
)
def test_types_and_names(argv: tuple[str, ...], environment: dict[str, str], expected: list[str]) -> None:
    assert outputs(told(*argv, "debian-minimal", **environment)) == expected


def test_trees_of_other_kinds(tmp_path: Path) -> None:
    translation = told("-t", "squashfs,aci,tgz", "--checksum", "a")
    assert outputs(translation) == [
        "squashfs,dest=HERE/image.squash",
        "tar,prefix=rootfs,dest=/scratch/rootfs.tar",
        "tar,dest=HERE/image.tgz,checksum=sha256+md5,prefix=.,compress=gzip",
    ]
    here = Path(HERE)
    assert translation.application == (Path("/scratch/rootfs.tar"), None, here / "image.aci")
    assert {file.name for file in translation.results} == {
        *("image.squash", "image.aci", "image.tgz", "image.tgz.md5", "image.tgz.sha256")
    }
    assert any("ACI_MANIFEST" in note for note in translation.notes)
    manifest = tmp_path / "manifest"
    manifest.write_text("{}")
    assert told("-t", "aci", "a", ACI_MANIFEST=str(manifest)).application == (
        *(Path("/scratch/rootfs.tar"), manifest, here / "image.aci"),
    )
    with pytest.raises(BuildError, match="no such manifest"):
        told("-t", "aci", "a", ACI_MANIFEST="/nowhere")


def test_docker_goes_to_the_engine_by_way_of_a_file() -> None:
    translation = told("-t", "docker", "--docker-target", "me/it", "debian-minimal")
    assert translation.options.load
    assert outputs(translation) == ["docker-archive,tag=me/it:latest,slim=no,dest=/scratch/image.tar"]
    assert translation.results == ()
    tagged = told("-t", "docker", "--docker-target", "host:5000/it:1", "debian-minimal")
    assert "tag=host:5000/it:1," in outputs(tagged)[0]


@pytest.mark.parametrize(
    ("types", "files"),
    [("qcow2,raw", []), ("tar", ["tar"]), ("tgz", ["tar"]), ("squashfs,qcow2,tgz,tar", ["squash", "tar"])],
)
def test_a_ramdisk_has_the_archives_of_its_tree_beside_it(types: str, files: list[str]) -> None:
    asked = parse("ramdisk-image-create", ["-t", types, "a"])
    found = translate(asked, ["a"], {}, "amd64", Path("/scratch"), ramdisk=True)
    assert [file.name for file in found.results] == [f"image.{suffix}" for suffix in files]
    assert found.options.outputs[-1] == "files"


def test_a_ramdisk_does_not_go_to_docker() -> None:
    asked = parse("ramdisk-image-create", ["-t", "docker", "--docker-target", "x", "a"])
    with pytest.raises(BuildError, match="does not go to docker"):
        translate(asked, ["a"], {}, "amd64", Path("/scratch"), ramdisk=True)


def test_a_ramdisk_has_no_image() -> None:
    found = translate(Asked(elements=("a",)), ["a"], {}, "amd64", Path("/scratch"), ramdisk=True)
    assert outputs(found) == ["files"]
    assert found.results == ()


def test_short_forms_mean_what_they_mean_there() -> None:
    assert parse("c", ["--mkfs", "x"]).values == {"mkfs-options": "x"}
    assert parse("c", ["--image-s=1"]).values == {"image-size": "1"}
    assert parse("c", ["--mkfs-journal-size", "5", "--image-extra-size=6"]).values == {
        "image-extra-size": "6",
        "mkfs-journal-size": "5",
    }


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "no element"),
        (("-t", "floppy", "a"), "no type 'floppy'"),
        (("-t", "docker", "a"), "needs a name"),
        (("-t", ",", "a"), "no type"),
    ],
)
def test_what_cannot_be_ends_with_status_1(argv: tuple[str, ...], words: str) -> None:
    with pytest.raises(BuildError) as caught:
        told(*argv)
    assert words in str(caught.value)
    assert caught.value.exit_status == 1


def test_options_that_are_variables() -> None:
    argv = ("--image-size", "5", "--install-type", "package", "--root-label", "r", "-x", "-x", "--checksum", "a")
    translation = told(*argv, DIB_DEBUG_TRACE="1")
    assert translation.variables == {
        "DIB_IMAGE_SIZE": "5",
        "DIB_DEFAULT_INSTALLTYPE": "package",
        "ROOT_LABEL": "r",
        "DIB_DEBUG_TRACE": "3",
        "DIB_CHECKSUM": "1",
        "DIB_ARGS": " ".join(argv),
    }


def test_what_changes_nothing_is_said() -> None:
    notes = told(
        "--no-tmpfs", "--min-tmpfs", "3", "--image-cache", "/c", "a", **{"break": "before-install,after-error"}
    )
    assert notes.options.breaks == ("before-install", "error")
    assert list(notes.notes) == [
        "builds take no memory for a tmpfs: --no-tmpfs and --min-tmpfs change nothing",
        "what scripts keep there lies in the store (--store): --image-cache changes nothing",
        "what is changed at a break point is thrown away",
    ]


def test_break_points_and_their_command() -> None:
    asked = {"break": "after-root,before-block-device", "break_cmd": "ls /", "break_outside_target": "1"}
    assert break_options(asked) == {"breaks": ("after-root",), "break_command": "ls /", "break_outside": True}
    assert break_options({"break_cmd": "ls /"}) == {}
    for wrong in ("error", "before:1", "after-instal"):
        with pytest.raises(BuildError, match=f"break={wrong}"):
            break_options({"break": wrong})


def test_a_log_file_makes_it_quiet() -> None:
    assert (told("--logfile", "l", "a").logfile, told("--logfile", "l", "a").quiet) == ("l", True)
    assert not told("--logfile", "l", "a", DIB_QUIET="0").quiet
    assert not told("a").quiet
    assert told("a", DIB_QUIET="1").quiet


@pytest.mark.parametrize(
    ("value", "sums"),
    [("0", ()), ("", ()), ("1", ("md5", "sha256")), ("md5", ("md5",)), ("sha256,md5", ("md5", "sha256"))],
)
def test_checksums(value: str, sums: tuple[str, ...]) -> None:
    assert checksums_of(Asked(), {"DIB_CHECKSUM": value}) == sums


def test_what_was_there_gets_the_time_into_its_name(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    image, other = tmp_path / "a.qcow2", tmp_path / "a.tar"
    for name in ("a.qcow2", "a.qcow2.md5", "b.raw"):
        (tmp_path / name).touch()
    moves = set_aside((image, image.with_name("a.qcow2.md5"), other), {}, at)
    assert {file.name: aside.name for file, aside in moves.items()} == {
        "a.qcow2": "a-2026.01.02-03.04.05.qcow2",
        "a.qcow2.md5": "a-2026.01.02-03.04.05.qcow2.md5",
    }
    assert set_aside((image,), {"OVERWRITE_OLD_IMAGE": "1"}, at) == {}


def test_which_of_the_callers_variables_go_along() -> None:
    environment = {"YUM": "dnf5", "GENTOO_PROFILE": "x", "HOME": "/h", "ARCH": "a", "UNNAMED": "1", "DIB_A": "1"}
    texts = ["${YUM:-yum} $GENTOO_PROFILE $HOME $ARCH $DIB_A", "MISSING"]
    assert variables_in(texts, environment) == {"YUM": "dnf5", "GENTOO_PROFILE": "x"}


def test_all_that_is_said_goes_to_the_log_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "new" / "log"
    with logged(str(log), quiet=True):
        os.write(1, b"one\n")
        os.write(2, b"two")
    with logged(str(log), quiet=False):
        os.write(1, b"three\n")
    with logged("", quiet=True):
        os.write(1, b"four\n")
    lines = log.read_text().splitlines()
    assert sorted(line.partition(" | ")[2] for line in lines) == ["one", "three", "two"]
    assert capfd.readouterr().out == "three\nfour\n"
    assert stamped(b"x\n", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)) == b"2026-01-02 03:04:05.678 | x\n"
    assert io.BytesIO(log.read_bytes()).readline().endswith(b"\n")


# -- files of images -------------------------------------------------------------------------------------------------


def images_of(tmp_path: Path, *texts: str) -> list[image_lists.Image]:
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text)
    return image_lists.read(files)


FIRST = """
- imagename: one
  arch: amd64
  types: [qcow2, tar]
  environment: {DIB_RELEASE: trixie, DIB_A: "1"}
  debug-trace: 1
  checksum: true
  offline: false
  image-size: 4
  qemu-img-options: {compat: "1.1"}
  packages: [vim, jq]
  elements: [debian-minimal]
- elements: [vm]
  environment: {DIB_A: "2"}
- imagename: two
  ramdisk: true
  skip-base: true
  elements: [debian-minimal]
"""


def test_entries_of_one_name_are_one_image(tmp_path: Path) -> None:
    one, two = images_of(tmp_path, FIRST, "- imagename: one\n  image-size: 5\n  elements: [more]\n")
    assert (one.name, one.command, dict(one.environment)) == (
        "one",
        "disk-image-create",
        {"DIB_RELEASE": "trixie", "DIB_A": "2"},
    )
    assert " ".join(one.arguments) == (
        "-o one -a amd64 -t qcow2,tar -x --checksum --image-size 5 --qemu-img-options compat=1.1 -p vim,jq"
        " debian-minimal vm more"
    )
    assert (two.command, two.arguments) == ("ramdisk-image-create", ("-o", "two", "-n", "debian-minimal"))
    assert parse("disk-image-create", one.arguments).elements == ("debian-minimal", "vm", "more")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\n", 1, "expected a list of images, found a map"),
        ("- 1\n", 1, "expected a map for each image, found a number"),
        ("- imagename: a\n  colour: red\n", 2, "there is no key 'colour'"),
        ("- imagename: a\n  elements: vm\n", 2, "elements is a text, expected a list of texts"),
        ("- imagename: a\n  image-size: 1.5\n", 2, "image-size is 1.5, expected a whole number of 1 or more"),
        ("- imagename: a\n  image-size: 0\n", 2, "image-size is a number, expected a whole number of 1 or more"),
        ("- imagename: a\n  debug-trace: 3\n", 2, "debug-trace is a number, expected 0, 1 or 2"),
        ("- imagename: a\n  environment: {A: 1}\n", 2, "environment is a map, expected a map of texts"),
        ("- imagename: a\n  arch: vax\n", 2, "arch is 'vax', expected one of"),
        ("- imagename: a\n  types:\n  - raw\n  - floppy\n", 4, "there is no type 'floppy'"),
        ("- imagename: a\n- imagename: [\n", 3, "no YAML"),
    ],
)
def test_wrong_files_are_refused_with_their_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        images_of(tmp_path, text)
    assert words in caught.value.what
    assert f"{caught.value.where}:".startswith(f"{tmp_path}/0.yaml:{line}:")


def test_how_many_at_a_time() -> None:
    assert at_a_time(4, 16 << 30) == 4
    assert at_a_time(4, 3 << 30) == 3
    assert at_a_time(4, 0) == 1
