"""diskimage-builder's own functional tests, unmodified, with dib-ctr's commands in the place of its own.

Its script ``run_functests.sh`` finds and judges them; the test of output formats, whose script names folders that its
package does not have, is done here as it does it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from tests import upstream
from tests.compat import dib
from tests.integration.engine_cases import missing

CHECKOUT = Path(__file__).parents[2]
FORMATS = ("", "tar", "tgz", "squashfs", "raw", "qcow2", "aci", "tar,tgz,squashfs,raw,qcow2,aci")
# Of diskimage-builder's own elements these are taken where dib-ctr has one of the same name.
OWN = ("apt-sources", "openstack-ci-mirrors", "base", "debian")


@pytest.fixture(scope="module")
def source() -> Path:
    """diskimage-builder's source package."""
    try:
        return upstream.source()
    except RuntimeError as error:
        missing(str(error))
        raise


def environment(place: Path, **more: str) -> dict[str, str]:
    """What a command is given: an engine and a store of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DIB_")}
    ours = {"DIB_CTR_ENGINE": "host", "DIB_CTR_STORE": str(place / "store"), "PYTHONPATH": str(CHECKOUT)}
    return {**own, **ours, **more}


def test_images_of_every_format(source: Path, place: Path, upstream_elements: Path) -> None:
    """Those of ``run_output_format_test.sh``; its type docker takes a daemon of docker's (test_compat_command.py)."""
    path = f"{upstream_elements}:{source / 'tests/elements'}"
    for wanted in FORMATS:
        folder = place / (wanted.replace(",", "-") or "default")
        folder.mkdir()
        done = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "builder.cli", "disk-image-create", "-x"),
                *(["-t", wanted] if wanted else []),
                *("--docker-target=not/used", "-o", str(folder / "image"), "-n", "fake-os"),
            ],
            env=environment(place, ELEMENTS_PATH=path),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        kinds = [{"squashfs": "squash"}.get(kind, kind) for kind in (wanted or "qcow2").split(",")]
        assert sorted(file.name for file in folder.iterdir()) == sorted(f"image.{kind}" for kind in kinds)


def functional(
    source: Path, place: Path, elements: Path, names: list[str], stand_ins: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run diskimage-builder's script with dib-ctr's command ``diskimage-builder``.

    Its own adds its elements to the path; so does the one here, and puts before them what stands in for distributions
    that no mirror is there for: ``stand_ins`` are names of elements and what each needs in place of its own.
    """
    before, commands = place / "stand-ins", place / "bin"
    for folder in (before, commands, place / "logs"):
        folder.mkdir()
    for name in OWN:
        (before / name).symlink_to(elements / name)
    for name, needs in stand_ins.items():
        (before / name).mkdir()
        (before / name / "element-deps").write_text(f"{needs}\n")
    (commands / "diskimage-builder").write_text(
        "#!/bin/sh\n"
        f"export ELEMENTS_PATH={before}:$ELEMENTS_PATH:{BUILTIN}:{elements}\n"
        f'exec {sys.executable} -P -m builder.cli diskimage-builder "$@"\n'
    )
    (commands / "python").write_text(f'#!/bin/sh\nPYTHONPATH= exec {upstream.python()} "$@"\n')
    for command in commands.iterdir():
        command.chmod(0o755)
    given = {name: value for name, value in dib.variables().items() if name != "DIB_APT_SOURCES_CONF"}
    return subprocess.run(
        ["bash", source / "tests/run_functests.sh", "-L", place / "logs", *names],
        env=environment(place, **given, PATH=f"{commands}:{os.environ['PATH']}", TMPDIR=str(place)),
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def logs(place: Path) -> str:
    """What the commands wrote into their log files."""
    return "\n".join(file.read_text(errors="replace") for file in sorted((place / "logs").iterdir()))


@pytest.mark.slow
@pytest.mark.thorough("Debian from its mirror")
def test_one_that_is_to_succeed(source: Path, place: Path, upstream_elements: Path) -> None:
    done = functional(source, place, upstream_elements, ["debian/build-succeeds"], {})
    said = done.stdout + done.stderr
    assert "PASS: Element debian, test-element: build-succeeds" in said, said + logs(place)[-3000:]
    assert done.returncode == 0, said


@pytest.mark.slow
@pytest.mark.thorough("Debian from its mirror")
def test_one_that_is_to_fail_in_its_last_line(source: Path, place: Path, upstream_elements: Path) -> None:
    """Debian stands in for Ubuntu. Its script looks at what apt-sources wrote, leaves a file, and fails on purpose.

    That it came so far is known by the file, which run_functests.sh has copied out of the tree at the break point.
    """
    names, stand_ins = ["apt-sources/test-sources"], {"ubuntu-minimal": "debian-minimal"}
    done = functional(source, place, upstream_elements, names, stand_ins)
    said = done.stdout + done.stderr
    assert "PASS: Element apt-sources, test-element: test-sources" in said, said + logs(place)[-3000:]
    assert done.returncode == 0, said
    assert "the stage pre-install/test-sources/00-test-apt-sources failed with status 1" in logs(place)
