"""Lines of source-repository files: fields, overrides, the shell's variables, and errors with file and line."""

from __future__ import annotations

import subprocess

import pytest

from blockdev.core.errors import UsageError
from stages.element.hooks import HookFile
from stages.element.source_repositories import Source, expand, read, rebased

FILE = "source-repository-x"


def lines(*texts: str, **variables: str) -> list[Source]:
    return list(read({FILE: HookFile(FILE, "e", 0o644, "\n".join((*texts, "")).encode())}, variables))


def only(*texts: str, **variables: str) -> Source:
    (found,) = lines(*texts, **variables)
    return found


def test_fields_and_their_defaults() -> None:
    found = lines(
        "# what comes along",
        "",
        "a git /opt/a https://h/a.git",
        "b  git   /opt/b https://h/b.git stable/1",
        "c tar /opt/c https://h/c.tar.gz",
        "d tar https://h/d.tar.gz .",
        "e file /opt/e https://h/e  # the last one",
    )
    assert found == [
        Source("a", "git", "/opt/a", "https://h/a.git", "master", FILE, f"element e, {FILE}:3"),
        Source("b", "git", "/opt/b", "https://h/b.git", "stable/1", FILE, f"element e, {FILE}:4"),
        Source("c", "tar", "/opt/c", "https://h/c.tar.gz", "*", FILE, f"element e, {FILE}:5"),
        Source("d", "tar", "", "https://h/d.tar.gz", ".", FILE, f"element e, {FILE}:6"),
        Source("e", "file", "/opt/e", "https://h/e", "", FILE, f"element e, {FILE}:7"),
    ]


def test_files_are_read_in_order_of_their_names() -> None:
    hooks = {
        path: HookFile(path, "e", 0o644, f"{name} git /{name} u\n".encode())
        for path, name in (("source-repository-b", "b"), ("source-repository-a", "a"))
    }
    assert [source.name for source in read(hooks, {})] == ["a", "b"]


def test_variables_override_type_location_and_reference_by_the_name_in_letters_and_digits() -> None:
    found = only(
        "my-repo.2 git /x https://h/x.git main",
        DIB_REPOTYPE_my_repo_2="tar",
        DIB_REPOLOCATION_my_repo_2="https://other/x.tgz",
        DIB_REPOREF_my_repo_2="sub",
    )
    assert (found.kind, found.location, found.ref) == ("tar", "https://other/x.tgz", "sub")
    assert found.ref_variable == "DIB_REPOREF_my_repo_2"


def test_an_empty_override_is_none() -> None:
    assert only("x git /x https://h/x.git", DIB_REPOREF_x="", DIB_REPOLOCATION_x="").location == "https://h/x.git"


@pytest.mark.parametrize(
    ("location", "moved"),
    [
        ("https://h/group/x.git", "git://m/group/x.git"),
        ("git://h/~me/x.git", "git://m//x.git"),
        ("/local/x.git", "/local/x.git"),
        ("git@h:x.git", "git@h:x.git"),
    ],
)
def test_the_base_of_all_git_repositories(location: str, moved: str) -> None:
    assert rebased(location, "git://m/") == moved
    assert only(f"x git /x {location}", DIB_GITREPOBASE="git://m/").location == moved
    given = only(f"x git /x {location}", DIB_GITREPOBASE="git://m/", DIB_REPOLOCATION_x="https://o/x")
    assert given.location == "https://o/x", "a location of its own comes first"
    assert only("x tar /x https://h/x", DIB_GITREPOBASE="git://m/").location == "https://h/x"


def test_what_is_not_installed_from_source_is_not_wanted() -> None:
    line = "my-repo git /x https://h/x.git"
    assert lines(line, DIB_INSTALLTYPE_my_repo="package") == []
    assert lines(line, DIB_DEFAULT_INSTALLTYPE="package") == []
    assert lines(line, DIB_DEFAULT_INSTALLTYPE="package", DIB_INSTALLTYPE_my_repo="source")
    assert lines("x package", DIB_INSTALLTYPE_x="package") == []
    assert lines(line, NO_SOURCE_REPOSITORIES="1") == []


def test_the_shells_variables_quotes_and_comments() -> None:
    line = r"""x file "/opt/$NAME" 'https://h/$NAME'/${NAME}-${V:-2}-${W-3}.gz # $UNSET"""
    found = only(line, NAME="n", V="")
    assert found.destination == "/opt/n"
    assert found.location == "https://h/$NAME/n-2-3.gz"


@pytest.mark.parametrize(
    "line",
    [
        "x git /x https://h/x.git",
        "x   git\t/x https://h/x#y",
        "$A git /x '$A'\"$A\"",
        "x tar /x ${A}.gz *",
        "x tar /x ${NONE:-d e} .",
        'x file "/x" a"b"c \'#\' # d',
        "$B",
        "# $NONE",
        "",
    ],
)
def test_lines_are_what_bash_makes_of_them(line: str) -> None:
    environment = {"A": "value", "B": "n git /d u", "PATH": "/usr/bin:/bin"}
    program = 'set -euf; while read line; do eval echo "$line"; done'
    done = subprocess.run(
        ["bash", "-c", program], input=line + "\n", env=environment, capture_output=True, text=True, check=True
    )
    assert expand(line, environment, "").split() == done.stdout.split()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x svn /x https://h/x", "names no source repository"),
        ("x", "names no source repository"),
        ("x git /x https://h/x main more", "one field too many"),
        ("x git /x", "has no location"),
        ("x git https://h/x", "has no destination"),
        ("x package /x", "cannot be fetched"),
        ("x git /x https://h/$UNSET", "the variable UNSET is not set"),
        ("x git /x https://h/$(hostname)", "'$(' cannot be used"),
        ("x git /x https://h/`hostname`", "cannot be used"),
        ("x tar /x https://h/?a=1&b=2 .", "'&b' cannot be used"),
        ("x tar /x 'https://h/", "cannot be used"),
    ],
)
def test_what_cannot_be_read_is_named_with_file_and_line(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        lines("# first", line)
    assert said in caught.value.what
    assert caught.value.where == "element e, source-repository-x:2"
    assert caught.value.hint


def test_a_backslash_at_the_end_joins_lines() -> None:
    assert only("x git /x \\", "https://h/x.git").location == "https://h/x.git"


def test_passwords_are_not_shown() -> None:
    assert only("x git /x https://me:secret@h/x.git").shown == "https://h/x.git"
