"""Who builds an image hears what is odd about the elements that it is made of, a sentence each, and hears it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.elements.check import image, run
from builder.elements.check.image import remarks
from stages.element.resolve import BUILTIN, Element, find_elements

SCRIPT = "#!/bin/bash\ntrue\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def elements(root: Path, files: Mapping[str, str], *more: Path) -> list[Element]:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    return [*find_elements([root, *more]).values()]


def test_what_loses_a_package_or_a_script_is_said(tmp_path: Path) -> None:
    found = elements(
        tmp_path / "el",
        {
            "a/package-installs.yaml": "vim:\n  phase: instal.d\nless:\n  arch: amd46\nnano:\n  achr: arm64\n",
            "a/instal.d/50-it": SCRIPT,
            "a/install.d/50-it.sh": SCRIPT,
            "a/environment.d/10-it.bash~": "true\n",
            "a/element-deps": "package-installs\n",
            "package-installs/README": "It is there.\n",
        },
    )
    assert remarks(found) == (
        "element a: environment.d/10-it.bash~ is not sourced: its name has more than letters, digits, . - and _",
        "element a: no build reads the folder instal.d; did you mean 'install.d'?",
        "element a: install.d/50-it.sh will not run: its name has more than letters, digits, - and _",
        (
            "element a: package-installs.yaml:2: vim is for the phase 'instal.d', which installs no packages; "
            "one of pre-install.d, install.d, post-install.d does"
        ),
        (
            "element a: package-installs.yaml:4: arch of less names 'amd46', which no machine's ARCH is; "
            "did you mean 'amd64'?"
        ),
        (
            "element a: package-installs.yaml:6: the key 'achr' of nano is not known and has no effect; "
            "did you mean 'arch'?"
        ),
    )


@pytest.mark.parametrize("path", ["install.d/60-it", "environment.d/60-it.bash"])
def test_what_bash_cannot_read_is_refused(tmp_path: Path, path: str) -> None:
    found = elements(tmp_path / "el", {f"a/{path}": SCRIPT + "if\n", "b/instal.d/50-it": SCRIPT})
    for _ in range(2):
        with pytest.raises(UsageError, match="element a: bash cannot read this: syntax error") as caught:
            remarks(found)
        assert caught.value.where == f"{tmp_path}/el/a/{path}:4"


@pytest.mark.parametrize(
    ("path", "text", "count"),
    [
        ("install.d/60-it", "shopt -s extglob\nls !(x)\n", 0),  # what the script itself turns on
        ("install.d/60-it", "exit 0\n\x01if (((\n", 1),  # the archive of a script that unpacks itself
        ("install.d/60-it", "[ -z $A ] || exit 0\nif\n", 1),
        ("bin/it", "if\n", 1),  # perhaps nobody calls it
        ("data/template", "if {{ it }}\n", 1),
    ],
)
def test_what_bash_may_never_come_to_is_not_refused(tmp_path: Path, path: str, text: str, count: int) -> None:
    sentences = remarks(elements(tmp_path / "el", {f"a/{path}": SCRIPT + text}))
    assert ["bash cannot read this" in sentence for sentence in sentences] == [True] * count


def test_files_that_only_an_element_reads_which_is_not_there_are_said(tmp_path: Path) -> None:
    files = {
        "a/package-installs.json": '{"vim": null}',
        "b/source-repository-it": "it git /opt/it https://it.invalid/it\n",
        "c/static/etc/it": "it\n",
        "d/install.d/package-installs-d": "vim\n",
        "e/install.d/it-source-install/50-it": SCRIPT,
    }
    found = elements(tmp_path / "el", files)
    said = [sentence for sentence in remarks(found) if "is not in the image" in sentence]
    assert [sentence.split(":")[0] for sentence in said] == [f"element {name}" for name in "abcde"]
    readers = ("package-installs", "source-repositories", "install-static", "install-types")
    with_readers = elements(tmp_path / "el", {f"{name}/README": "It is there.\n" for name in readers})
    assert not any("is not in the image" in sentence for sentence in remarks(with_readers))


def test_packages_of_a_hidden_element_are_said(tmp_path: Path) -> None:
    elements(tmp_path / "other", {"a/package-installs.yaml": "vim:\n"})
    found = elements(tmp_path / "el", {"a/README": "It is there.\n"}, tmp_path / "other")
    assert remarks(found) == (
        (
            f"element a: {tmp_path}/other/a/package-installs.yaml is not used; "
            "diskimage-builder installs what it names, too"
        ),
    )


def test_elements_are_looked_at_again_only_when_they_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = elements(tmp_path / "el", {"a/instal.d/50-it": SCRIPT})
    first = remarks(found)
    assert len(first) == 1
    with monkeypatch.context() as patched:
        patched.setattr(run, "alone", None)
        assert remarks(found) == first
    (tmp_path / "el/a/instal.d/50-it").rename(tmp_path / "el/a/50-it")
    assert remarks(found) == ()


def test_what_is_kept_is_bounded_and_may_be_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "KEPT", 2)
    for number in range(4):
        assert remarks(elements(tmp_path / str(number), {"a/README": "It.\n"})) == ()
    file = tmp_path / "cache/dib-ctr/remarks.json"
    assert file.read_text().count("[]") == 2
    file.write_text("[1")
    assert remarks(elements(tmp_path / "5", {"a/instal.d/50-it": SCRIPT})) != ()


def test_built_in_elements_are_not_looked_at() -> None:
    assert remarks([*find_elements([BUILTIN]).values()]) == ()
