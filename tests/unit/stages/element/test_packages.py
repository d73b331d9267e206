"""package-installs, pkg-map and svc-map: from the elements' files to names in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.element.package_installs import (
    PhasePackages,
    package_installs,
    pkg_map,
    read_pkg_maps,
    render_pkg_map,
    render_svc_map,
)

ENVIRONMENT = {"ARCH": "amd64", "DISTRO_NAME": "debian", "DIB_RELEASE": "trixie", "DIB_X": "1"}


def element(root: Path, name: str, **files: str) -> tuple[str, Path]:
    folder = root / name
    folder.mkdir()
    for file, text in files.items():
        (folder / file.replace("__", ".").replace("_", "-")).write_text(text)
    return name, folder


def test_defaults_phases_and_conditions(tmp_path: Path) -> None:
    a = element(
        tmp_path,
        "a",
        package_installs__yaml="""
plain:
early:
  phase: pre-install.d
odd-phase:
  phase: finalise.d
arm-only:
  arch: arm64, armhf
not-arm:
  not-arch: arm64
when-true:
  when: DIB_X = 1
when-false:
  when: [DIB_X = 1, DIB_X != 1]
twice:
  - arch: arm64
  - phase: post-install.d
by-type:
  installtype: package
gone:
  uninstall: true
tool:
  build-only: true
""",
    )
    plan = package_installs([a], ENVIRONMENT)
    assert plan["pre-install.d"] == PhasePackages(("early",))
    assert plan["install.d"] == PhasePackages(("not-arm", "plain", "tool", "when-true"), ("gone", "tool"))
    assert plan["post-install.d"] == PhasePackages(("twice",))
    chosen = package_installs([a], {**ENVIRONMENT, "DIB_INSTALLTYPE_a": "package"})
    assert "by-type" in chosen["install.d"].install


@pytest.mark.parametrize("nothing", ["", "[]", "{}", "''", '""', "false", "0", "null"])
def test_a_package_with_nothing_behind_it_is_installed(tmp_path: Path, nothing: str) -> None:
    a = element(tmp_path, "a", package_installs__yaml=f"vim: {nothing}\n")
    assert package_installs([a], ENVIRONMENT)["install.d"].install == ("vim",)
    if nothing not in ("", "''"):  # (as JSON has it)
        b = element(tmp_path, "b", package_installs__json=f'{{"nano": {nothing}}}')
        assert package_installs([b], ENVIRONMENT)["install.d"].install == ("nano",)


def test_lists_of_the_old_form_install_and_remove(tmp_path: Path) -> None:
    a = element(tmp_path, "a", pkg_map='{"default": {"ssh": "openssh-server"}}')
    for phase, text in {
        "pre-install.d": "early\n",
        "install.d": "# these\nssh\n\n-tool\none two\n",
        "root.d": "no",
    }.items():
        (a[1] / phase).mkdir()
        (a[1] / phase / "package-installs-a").write_text(text)
    (a[1] / "install.d/package-installs-b").write_text("ssh\n")  # b's map counts, and there is none
    plan = package_installs([a], ENVIRONMENT)
    assert plan["pre-install.d"] == PhasePackages(("early",))
    assert plan["install.d"] == PhasePackages(("one", "openssh-server", "ssh", "tool", "two"), ("tool",))
    assert plan["post-install.d"] == PhasePackages()


def test_a_plain_install_of_another_element_keeps_a_package(tmp_path: Path) -> None:
    a = element(tmp_path, "a", package_installs__yaml="gcc:\n  build-only: true\n")
    b = element(tmp_path, "b", package_installs__json='{"gcc": null}')
    assert package_installs([a, b], ENVIRONMENT)["install.d"] == PhasePackages(("gcc",))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("gcc: [{build-only: true}, {installtype: package}]", PhasePackages(("gcc",))),  # also where it does not apply
        ("gcc: [{installtype: package}, {build-only: true}]", PhasePackages(("gcc",), ("gcc",))),
        ("gcc: [{}, {build-only: true}]", PhasePackages(("gcc",))),
        ("gcc: [{}, {uninstall: true}]", PhasePackages(("gcc",))),
        ("gcc: [{uninstall: true}, {}]", PhasePackages(("gcc",))),
        ("gcc: [{uninstall: true}, {arch: other}]", PhasePackages()),
        ("gcc: [{build-only: true}, {uninstall: true}]", PhasePackages(("gcc",), ("gcc",))),
        ("gcc: [{uninstall: true, build-only: true}]", PhasePackages(("gcc",), ("gcc",))),
        ("gcc: [{}, {uninstall: true, when: NOT_SET = 1}]", PhasePackages(("gcc",))),  # nobody asks for the variable
        ("gcc: [{}, {phase: post-install.d, uninstall: true}]", PhasePackages(("gcc",))),
    ],
)
def test_rules_count_in_their_order(tmp_path: Path, given: str, expected: PhasePackages) -> None:
    one = element(tmp_path, "a", package_installs__yaml=given + "\n")
    assert package_installs([one], {**ENVIRONMENT, "DIB_DEFAULT_INSTALLTYPE": "source"})["install.d"] == expected


def test_names_go_through_the_elements_own_map(tmp_path: Path) -> None:
    mapping = '{"distro": {"debian": {"ssh": "openssh-server openssh-client", "none": ""}}}'
    a = element(tmp_path, "a", package_installs__yaml="ssh:\nnone:\nother:\n", pkg_map=mapping)
    b = element(tmp_path, "b", package_installs__yaml="none:\n")
    install = package_installs([a, b], ENVIRONMENT)["install.d"].install
    assert install == ("none", "openssh-client", "openssh-server", "other")


def test_later_sections_of_a_map_win() -> None:
    data = {
        "default": {"p": "default", "q": "q"},
        "family": {"debian": {"p": "family"}},
        "distro": {"debian": {"p": "distro"}},
        "release": {"debian": {"trixie": {"p": "release"}}},
    }
    assert pkg_map(data, "debian", "trixie") == {"p": "release", "q": "q"}
    assert pkg_map(data, "debian", "bookworm")["p"] == "distro"
    assert pkg_map(data, "ubuntu", "noble")["p"] == "family"
    assert pkg_map(data, "fedora", "44")["p"] == "default"
    assert render_pkg_map(data).splitlines()[0] == "default\t-\tp\tdefault"
    assert "release\tdebian trixie\tp\trelease" in render_pkg_map(data)


def test_services_by_distribution_family_and_default(tmp_path: Path) -> None:
    text = "sshd: {default: sshd, debian: ssh}\ncron: {redhat: crond}\nplain:\n"
    a = element(tmp_path, "a", svc_map=text)
    assert render_svc_map([a], "debian") == "cron\tcron\nplain\tplain\nsshd\tssh\n"
    assert render_svc_map([a], "fedora") == "cron\tcrond\nplain\tplain\nsshd\tsshd\n"
    for other in ("rocky", "almalinux", "openeuler"):  # of Red Hat's family for packages alone
        assert render_svc_map([a], other) == "cron\tcron\nplain\tplain\nsshd\tsshd\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- a\n- b\n", "expected a mapping, found list"),
        ("a: [1]\n", "expected a mapping, found 1"),
        ("a:\n  when: NOT_SET = 1\n", "which is not set"),
        ("a:\n  when: nonsense\n", "neither 'VAR = value' nor 'VAR != value'"),
        ("a:\n  arch: amd64\n  not-arch: arm64\n", "both arch and not-arch"),
        ("a: {\n", "cannot be read"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, what: str) -> None:
    a = element(tmp_path, "a", package_installs__yaml=text)
    with pytest.raises(UsageError) as caught:
        package_installs([a], ENVIRONMENT)
    assert what in caught.value.what
    assert "a/package-installs.yaml" in caught.value.where


def test_an_unknown_section_of_a_map_is_refused(tmp_path: Path) -> None:
    a = element(tmp_path, "a", pkg_map='{"distros": {}}')
    with pytest.raises(UsageError, match="'distros'"):
        read_pkg_maps([a])
