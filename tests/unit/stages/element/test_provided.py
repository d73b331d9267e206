"""What the build gives scripts beside the elements' folders, and who sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.element import dib_runtime
from stages.element.environment import declared
from stages.element.hooks import HookFile, merge
from stages.element.references import visible_files
from stages.sandbox.persistent_mounts import LATE, KeptMount, in_layers, left_mounts, read, write
from tests.examples import examples

FOLDER = Path(dib_runtime.__file__).parent


def element(root: Path, name: str, files: dict[str, str]) -> tuple[str, Path]:
    for path, text in files.items():
        file = root / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path.split("/")[0].endswith(".d") or path.startswith("bin/"):
            file.chmod(0o755)
    return name, root / name


def seen(tmp_path: Path, script: str, phase: str = "extra-data.d") -> set[str]:
    """What a script sees in an image with another element."""
    elements = [
        element(
            tmp_path, "mine", {f"{phase}/10-mine": script, "bin/tool": "x", "source-repository-mine": "a git /a b\n"}
        ),
        element(
            tmp_path,
            "other",
            {
                "pkg-map": "{}",
                "README.rst": "words",
                "package-installs.yaml": "a:\n",
                "install.d/50-other": "x",
                "yum.repos.d/a.repo": "x",
                "source-repository-other": "b git /b c\n",
                "bin/other-tool": "x",
            },
        ),
    ]
    merged = merge(elements)
    tree = {**merged, **dib_runtime.files(elements, merged)}
    return set(visible_files(tree[f"{phase}/10-mine"], tree)) - {f"{phase}/10-mine"}


def test_a_script_sees_what_it_names(tmp_path: Path) -> None:
    own = {"source-repository-mine"}  # its element's own data is always seen
    assert seen(tmp_path / "1", "echo hello") == own
    assert seen(tmp_path / "2", "sudo true") == own | {"outside.d/sudo"}
    assert seen(tmp_path / "3", "source $_LIB/common-functions") >= {"lib.d/common-functions", "lib.d/die"}
    assert seen(tmp_path / "4", "from diskimage_builder import paths") >= {"python.d/diskimage_builder/paths.py"}
    assert seen(tmp_path / "5", "ls $TMP_HOOKS_PATH/source-repository-*") == own | {"source-repository-other"}
    assert seen(tmp_path / "6", "$TMP_HOOKS_PATH/dib-run-parts x") == own | {"dib-run-parts"}


def test_the_trees_own_sudo_serves_inside(tmp_path: Path) -> None:
    assert seen(tmp_path, "sudo true", "install.d") == {"source-repository-mine"}


@pytest.mark.parametrize(
    "text",
    ["install -t /usr/local/bin $(dirname $0)/../bin/*", "ls $TMP_HOOKS_PATH/bin", "cp ${TMP_HOOKS_PATH}/bin/* /x"],
)
def test_the_folder_of_commands_as_a_whole(tmp_path: Path, text: str) -> None:
    assert {"bin/tool", "bin/other-tool"} <= seen(tmp_path, text)


@pytest.mark.parametrize("text", ["#!/bin/bash", "ls /usr/bin/", "PATH=$PATH:/usr/local/bin"])
def test_other_folders_of_commands(tmp_path: Path, text: str) -> None:
    assert not {"bin/tool", "bin/other-tool"} & seen(tmp_path, text)


def test_who_goes_through_all_elements_sees_their_data_but_no_script(tmp_path: Path) -> None:
    found = seen(tmp_path / "1", "eval declare -A all=($(get_image_element_array))")
    assert {"elements.d/other/pkg-map", "elements.d/other/package-installs.yaml"} <= found
    assert not found & {"elements.d/other/README.rst", "elements.d/other/install.d/50-other"}
    assert "elements.d/other/yum.repos.d/a.repo" not in found
    named = seen(tmp_path / "2", "for path in $ELEMENTS_PATH/*/yum.repos.d; do cp $path/*; done")
    assert "elements.d/other/yum.repos.d/a.repo" in named


def test_the_list_of_elements(tmp_path: Path) -> None:
    elements = [("one", tmp_path), ("a-two", tmp_path)]
    function = dib_runtime.functions(elements, "/hooks")["get_image_element_array"]
    script = 'eval declare -A all=($(get_image_element_array)); echo "${all[a-two]} ${!all[@]}"'
    environment = {"BASH_FUNC_get_image_element_array%%": function, "PATH": os.environ["PATH"]}
    said = subprocess.check_output(["bash", "-c", script], env=environment, text=True).split()
    assert said[0] == "/hooks/elements.d/a-two"
    assert set(said[1:]) == {"one", "a-two"}
    assert dib_runtime.variables(elements, "/hooks")["IMAGE_ELEMENT_YAML"].strip() == (
        "{a-two: /hooks/elements.d/a-two, one: /hooks/elements.d/one}"
    )


@pytest.mark.parametrize(("before", "status"), [("true", 0), ("(exit 7)", 7)])
def test_die_ends_with_the_status_before(before: str, status: int) -> None:
    environment = {"BASH_FUNC_die%%": dib_runtime.die(), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", f"{before}; die no more; echo on"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, "no more\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["echo", "a  b"], "a  b"),
        (["-E", "-n", "--", "echo", "a"], "a"),
        (["-E", "A=x y", "sh", "-c", "echo $A"], "x y"),
        (["--preserve-env=A,B", "-H", "sh", "-c", "echo $HOME"], "/root"),
        (["-u", "root", "echo", "a"], "a"),
        (["-s", "echo", "a"], "a"),
        (["-Hiu", "root", "pwd"], "/root"),
        (["-nEuroot", "-D/tmp", "pwd"], "/tmp"),
        (["-i", "echo", "a  b;", "$HOME"], "a  b; /root"),
        (["--us", "root", "--chd=/tmp", "--", "pwd"], "/tmp"),
        (["A=1", "-E", "B=2", "sh", "-c", "echo $A$B"], "12"),
        (["-v"], ""),
        (["-nv"], ""),
        (["-kn", "echo", "a"], "a"),
    ],
)
def test_sudo(words: list[str], said: str) -> None:
    done = subprocess.run([FOLDER / "commands/sudo", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")


def test_sudo_ends_with_the_commands_status() -> None:
    assert subprocess.run([FOLDER / "commands/sudo", "sh", "-c", "exit 5"], check=False).returncode == 5
    for wrong in ([], ["-z", "true"], ["-u"], ["-nu"], ["--user"], ["--colour", "true"], ["-u", "nobody-here", "true"]):
        done = subprocess.run([FOLDER / "commands/sudo", *wrong], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr[:6]) == (1, "", "sudo: "), wrong


SUDO_WORDS = """
-H -n -E -nE -HE -S -P -k -u -nu -HEu -unobody -uroot -u#65534 -gdaemon -ng --user --user=nobody --use --group=daemon
--non-interactive --set-home -D/tmp -nD/ -pprompt -np -Hp --prompt=x --stdin A=1 -- nobody daemon root
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("sudo"), reason="needs root, and sudo itself to compare with")
@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.sampled_from(SUDO_WORDS.split()), max_size=5))
def test_sudo_reads_options_as_sudo_itself_does(words: list[str]) -> None:
    command = [*words, "/bin/sh", "-c", 'id -un; id -gn; pwd; echo "${A-}"']
    real = subprocess.run(["sudo", *command], check=False, capture_output=True, text=True, cwd="/", timeout=60)
    ours = subprocess.run(
        [FOLDER / "commands/sudo", *command], check=False, capture_output=True, text=True, cwd="/", timeout=60
    )
    if not real.returncode:  # (it refuses some that mean something all the same, as an option twice)
        assert (ours.returncode, ours.stdout) == (0, real.stdout), ours.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_sudo_as_somebody_else() -> None:
    said = subprocess.check_output([FOLDER / "commands/sudo", "-u", "nobody", "id", "-un"], text=True)
    assert said == "nobody\n"


def test_run_parts(tmp_path: Path) -> None:
    """By number, then bytewise; names with a dot and files without a run bit stay out; the first failure ends it."""
    folder = tmp_path / "install.d"
    folder.mkdir()
    (tmp_path / "environment.d").mkdir()
    (tmp_path / "environment.d/10-a.bash").write_text("export WORD=said\n")
    for name in ("9-second", "100-last", "10-third", "a-first", "20.no"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$WORD"\n')
        (folder / name).chmod(0o755)
    (folder / "15-data").write_text("x")
    run_parts = FOLDER / "lib/dib-run-parts"
    listed = subprocess.check_output([run_parts, "--list", folder], text=True).split()
    assert [Path(path).name for path in listed] == ["a-first", "9-second", "10-third", "100-last"]
    done = subprocess.run([run_parts, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["a-first said", "9-second said"]
    assert "dib-run-parts 100-last completed" in done.stderr
    (folder / "9-second").write_text("#!/bin/sh\nexit 3\n")
    done = subprocess.run([run_parts, folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "a-first said\n")
    assert subprocess.run([run_parts, tmp_path / "none"], capture_output=True, check=False).returncode == 1


def kernel(root: Path, release: str, *names: str) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "boot").mkdir()
    (root / "etc" / release).touch()
    for name in names:
        (root / "boot" / name).touch()
    return root


@pytest.mark.parametrize(
    ("release", "names", "found"),
    [
        (
            "debian_version",
            (
                "vmlinuz-6.9.0-1-amd64",
                "vmlinuz-6.12.0-2-amd64",
                "initrd.img-6.9.0-1-amd64",
                "initrd.img-6.12.0-2-amd64",
            ),
            "vmlinuz-6.12.0-2-amd64 initrd.img-6.12.0-2-amd64",
        ),
        (
            "debian_version",
            ("vmlinuz-9", "vmlinuz-5-generic", "initrd-5-generic"),
            "vmlinuz-5-generic initrd-5-generic",
        ),
        (
            "redhat-release",
            ("vmlinuz-6.1.x86_64", "vmlinuz-6.2.x86_64+debug", "initramfs-6.1.x86_64.img"),
            "vmlinuz-6.1.x86_64 initramfs-6.1.x86_64.img",
        ),
        ("gentoo-release", ("vmlinuz-1-gentoo", "initramfs-1-gentoo.img"), "vmlinuz-1-gentoo initramfs-1-gentoo.img"),
    ],
)
def test_which_kernel_boots(tmp_path: Path, release: str, names: tuple[str, ...], found: str) -> None:
    root = kernel(tmp_path / "root", release, *names)
    script = f'source {FOLDER}/lib/img-functions; select_boot_kernel_initrd {root}; echo "$KERNEL $RAMDISK"'
    assert subprocess.check_output(["bash", "-eu", "-c", script], text=True).strip() == found


def test_no_kernel_is_a_sentence(tmp_path: Path) -> None:
    root = kernel(tmp_path / "root", "debian_version")
    script = f"source {FOLDER}/lib/img-functions; select_boot_kernel_initrd {root}"
    done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no kernel" in done.stderr


def test_the_python_modules(tmp_path: Path) -> None:
    element(tmp_path, "one", {"element-deps": "two\n"})
    element(tmp_path, "two", {"element-deps": "absent\n"})
    program = (
        "from diskimage_builder import element_dependencies as e, logging_config as l, paths as p; l.setup();"
        "print(e.get_elements(['one']), sorted(e.expand_dependencies(['two'], p.get_path('elements'))))"
    )
    environment = {"PYTHONPATH": str(FOLDER / "python"), "ELEMENTS_PATH": str(tmp_path)}
    said = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert said.strip() == f"[('one', '{tmp_path}/one'), ('two', '{tmp_path}/two')] ['two']"


def test_variables_as_bash_declares_them() -> None:
    text = declared({"DIB_B": 'a "quoted" $x `y` \\', "DIB_A": "1"})
    said = subprocess.check_output(["bash", "-c", f'{text}\nprintf %s "$DIB_B"; declare -p DIB_A'], text=True)
    assert said == 'a "quoted" $x `y` \\declare -x DIB_A="1"\n'
    assert text.startswith("declare -x DIB_A=")


MOUNTS = b"""\
20 1 0:30 / / rw - overlay overlay rw
21 20 8:1 /store/cache/image-cache/amd64 /run/dib-ctr.build/image-cache rw - ext4 /dev/sda1 rw
22 20 8:1 /store/work/1/tree /run/dib-ctr.build/mnt rw - ext4 /dev/sda1 rw
23 22 8:1 /store/cache/image-cache/amd64/apt/debian /run/dib-ctr.build/mnt/var/cache/apt/archives rw - ext4 /dev/sda1 rw
24 22 8:1 /store/cache/image-cache/amd64/pip\\040x /run/dib-ctr.build/mnt/tmp/a\\040b rw - ext4 /dev/sda1 rw
25 22 8:2 /store/cache/image-cache/amd64/other /run/dib-ctr.build/mnt/mnt rw - ext4 /dev/sda2 rw
27 22 0:50 /tree /run/dib-ctr.build/mnt rw - overlay overlay rw
28 22 0:50 /outside/tmp/tool /run/dib-ctr.build/mnt/opt/tool rw - overlay overlay rw
29 22 0:50 /tree/opt /run/dib-ctr.build/mnt/srv rw - overlay overlay rw
26 22 0:40 / /run/dib-ctr.build/mnt/proc rw - proc proc rw
"""


def test_which_mounts_last(tmp_path: Path) -> None:
    left = left_mounts(MOUNTS)
    mounts = [
        KeptMount("opt/tool", "layer:outside/tmp/tool"),
        KeptMount("srv", "layer:tree/opt"),
        KeptMount("tmp/a b", "pip x"),
        KeptMount("var/cache/apt/archives", "apt/debian"),
    ]
    assert left.kept == mounts
    assert left.other == {"mnt": "ext4"}, "from another file system: it ends with its stage"
    assert left_mounts(MOUNTS, {"mnt"}).other == {}, "the stage found it so"
    assert left_mounts(b"").kept == []
    write(left, [], tmp_path, LATE)
    assert read(tmp_path, LATE) == mounts
    assert read(tmp_path) == []


def test_a_mount_that_a_script_takes_away_is_gone_for_later_ones(tmp_path: Path) -> None:
    write(left_mounts(MOUNTS), [], tmp_path, LATE)
    shown = read(tmp_path, LATE)
    write(left_mounts(MOUNTS.replace(b"mnt/srv rw", b"mnt/proc rw")), shown, tmp_path, LATE)
    assert [mount.place for mount in read(tmp_path, LATE)] == ["opt/tool", "tmp/a b", "var/cache/apt/archives"]


def test_what_a_mount_shows_of_the_layers_is_no_link_to_something_else(tmp_path: Path) -> None:
    (tmp_path / "outside/tmp").mkdir(parents=True)
    (tmp_path / "outside/tmp/etc").symlink_to("/etc")
    (tmp_path / "outside/etc").mkdir()
    assert in_layers(tmp_path, "layer:outside/tmp/etc") == tmp_path / "outside/etc"
    for source in ("layer:outside/tmp/none", "layer:hooks/x", "layer:outside/../../etc", "layer:/etc"):
        found = in_layers(tmp_path, source)
        assert found is None or found.is_relative_to(tmp_path / "outside"), source


def test_the_given_files_are_no_scripts(tmp_path: Path) -> None:
    """Whatever an element has, its copy in elements.d is not run."""
    elements = [element(tmp_path, "mine", {"install.d/10-mine": "echo $ELEMENTS_PATH"})]
    merged = merge(elements)
    given = dib_runtime.files(elements, merged)
    assert isinstance(given["elements.d/mine/install.d/10-mine"], HookFile)
    assert not any(hook.is_script for hook in given.values())
