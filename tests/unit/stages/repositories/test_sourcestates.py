"""States of source repositories: what is asked, of whom, what is told to stages and kept for later."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from stages.element.source_repositories import Source
from stages.layers import source_cache
from stages.repositories import source_state
from stages.repositories.source_state import SourceQuery, SourceState, locked, moved, pins, states

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def source(name: str = "x", kind: str = "git", location: str = "u", ref: str = "master") -> Source:
    return Source(name, kind, f"/{name}", location, ref, "source-repository-x", "element e, source-repository-x:1")


def question(folder: Path, given: Mapping[str, str] | None = None, *, offline: bool = False) -> SourceQuery:
    return SourceQuery({}, folder, given or {}, offline)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    identity = {f"GIT_{who}_{what}": "a@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": "/dev/null"}
    for command in (
        f"init -q -b main {folder}",
        f"-C {folder} commit -q --allow-empty -m 1",
        f"-C {folder} tag -a -m 1 both",
        f"-C {folder} commit -q --allow-empty -m 2",
        f"-C {folder} branch both",
        f"-C {folder} update-ref refs/changes/1 HEAD",
    ):
        subprocess.run(["git", *command.split()], check=True, env=environment)
    return folder


def rev(repository: Path, name: str) -> str:
    command = ["git", "-C", str(repository), "rev-parse", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_reference_is_the_commit_that_git_would_fetch(repository: Path, tmp_path: Path) -> None:
    refs = ("main", "both", "refs/heads/both", "HEAD", "refs/changes/1")
    found = states([source(f"n{ref}", location=str(repository), ref=ref) for ref in refs], question(tmp_path))
    tagged, last = rev(repository, "refs/tags/both^{commit}"), rev(repository, "main")
    assert [state.state for state in found] == [last, tagged, last, last, last]
    assert [state.commit for state in found] == [last, tagged, last, last, ""], "not every server hands out the last"


def test_all_references_are_one_state_that_follows_each(repository: Path, tmp_path: Path) -> None:
    wanted = [source(location=str(repository), ref="*")]
    before = states(wanted, question(tmp_path))
    assert before == states(wanted, question(tmp_path))
    subprocess.run(["git", "-C", str(repository), "branch", "more"], check=True)
    assert before != states(wanted, question(tmp_path))
    assert moved(before, question(tmp_path)) == before


def test_a_reference_that_is_not_there_is_named_with_what_is(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="has no reference 'master'") as caught:
        states([source("my-x", location=str(repository))], question(tmp_path))
    assert caught.value.where == "element e, source-repository-x:1"
    with pytest.raises(BuildError) as caught:
        states([source("my-x", location=str(repository), ref="0.1")], question(tmp_path))
    assert caught.value.hint == "--set DIB_REPOREF_my_x=main"


def test_a_whole_commit_is_asked_of_nobody(tmp_path: Path) -> None:
    (found,) = states([source(location="http://nowhere.invalid/x", ref=COMMIT)], question(tmp_path))
    assert found.state == found.commit == COMMIT
    assert moved([found], question(tmp_path)) == ()


def test_a_repository_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_state, "ATTEMPTS", 1)
    with pytest.raises(BuildError, match="does not answer") as caught:
        states([source("my-x", location="http://me:secret@127.0.0.1:1/x")], question(tmp_path))
    assert "http://127.0.0.1:1/x" in caught.value.what
    assert "secret" not in str(caught.value)
    assert "DIB_REPOLOCATION_my_x" in caught.value.hint


def test_offline_takes_what_was_recorded(repository: Path, tmp_path: Path) -> None:
    wanted = [source(location=str(repository), ref="main")]
    with pytest.raises(BuildError, match="never recorded"):
        states(wanted, question(tmp_path, offline=True))
    seen = states(wanted, question(tmp_path))
    repository.rename(tmp_path / "elsewhere")
    assert states(wanted, question(tmp_path, offline=True)) == seen


def test_what_is_recorded_and_locked_has_no_password(server: str, tmp_path: Path) -> None:
    address = f"http://me:secret@{server}/etag"
    (found,) = states([source(kind="file", location=address, ref="")], question(tmp_path))
    assert "secret" not in json.dumps(found.to_lock())
    assert not [file for file in tmp_path.glob("*.json") if "secret" in file.read_text()]


class Answers(BaseHTTPRequestHandler):
    """Says of files what their names say."""

    def do_HEAD(self) -> None:
        if self.path == "/no-head":
            self.send_error(405)
        else:
            self.answer()

    def do_GET(self) -> None:
        self.answer()
        self.wfile.write(b"content")

    def answer(self) -> None:
        """The headers."""
        if self.path == "/gone":
            self.send_error(410)
            return
        self.send_response(200)
        self.send_header("Content-Length", "7")
        if self.path in ("/etag", "/no-head"):
            self.send_header("ETag", f'"1 {self.headers.get("Authorization", "")}"')
        if self.path == "/date":
            self.send_header("Last-Modified", "Sat, 12 Sep 2026 07:55:41 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{made.server_port}"
    made.shutdown()


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("etag", 'ETag: "1 "; Length: 7'),
        ("no-head", 'ETag: "1 "; Length: 7'),
        ("date", "Last-Modified: Sat, 12 Sep 2026 07:55:41 GMT; Length: 7"),
        ("nothing", "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"),
    ],
)
def test_a_file_is_what_its_server_says_of_it_or_else_its_content(
    server: str, tmp_path: Path, path: str, state: str
) -> None:
    (found,) = states([source(kind="tar", location=f"http://{server}/{path}", ref=".")], question(tmp_path))
    assert (found.state, found.commit) == (state, "")
    assert moved([found], question(tmp_path)) == ()


def test_user_and_password_of_an_address_are_sent(server: str, tmp_path: Path) -> None:
    (found,) = states([source(kind="file", location=f"http://a:b@{server}/etag")], question(tmp_path))
    assert "Basic YTpi" in found.state


def test_a_file_that_is_gone_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="410"):
        states([source(kind="file", location=f"http://{server}/gone")], question(tmp_path))


def test_the_builds_proxies_are_asked(server: str, tmp_path: Path) -> None:
    wanted = [source(kind="file", location="http://nowhere.invalid/etag")]
    proxies = {"http_proxy": f"http://{server}"}
    (found,) = states(wanted, SourceQuery(proxies, tmp_path, {}))
    assert found.state.startswith("sha256:"), "the proxy sees the whole address and knows no such file"
    own = [source(kind="file", location=f"http://{server}/etag")]
    proxies = {"http_proxy": "http://127.0.0.1:1", "no_proxy": "localhost, 127.0.0.1"}
    (found,) = states(own, SourceQuery(proxies, tmp_path, {}))
    assert found.state.startswith("ETag")


def test_a_file_of_the_machine_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    for location in (f"file://{tmp_path}/f", f"{tmp_path}/f"):
        (found,) = states([source(kind="file", location=location)], question(tmp_path))
        assert found.state.startswith("sha256:ed7002b4")


def test_given_files_are_their_own_state(tmp_path: Path) -> None:
    wanted = [source(location="file:///srv/x.git")]
    one = question(tmp_path, {"/srv/x.git/HEAD": "1", "/srv/x.gitmore": "2"})
    two = question(tmp_path, {"/srv/x.git/HEAD": "3", "/srv/x.gitmore": "2"})
    assert states(wanted, one) == states(wanted, question(tmp_path, {"/srv/x.git/HEAD": "1"}))
    assert states(wanted, one) != states(wanted, two)
    assert moved(states(wanted, one), one) == ()


def test_given_files_that_are_not_the_locks_have_moved(tmp_path: Path) -> None:
    before = states([source(location="/srv/x.git")], question(tmp_path, {"/srv/x.git/HEAD": "1"}))
    assert moved(before, question(tmp_path, {"/srv/x.git/HEAD": "2"})) == before


def test_what_scripts_cannot_see_is_said_before_they_run(repository: Path, tmp_path: Path) -> None:
    wanted = [source("my-x", location=f"file://{repository}", ref="main")]
    assert states(wanted, question(tmp_path))
    for hidden, folder in ((("tmp", "var", "home"), repository), ((), tmp_path / "none")):
        with pytest.raises(BuildError, match="which scripts cannot see") as caught:
            states([source("my-x", location=f"file://{folder}")], SourceQuery({}, tmp_path, {}, False, hidden))
        assert "DIB_REPOLOCATION_my_x" in caught.value.hint


def test_stages_are_told_the_commits() -> None:
    seen = (SourceState(source("a-b"), COMMIT, COMMIT), SourceState(source("c", "tar"), "ETag: 1"))
    assert pins(seen) == {"DIB_REPOREF_a_b": COMMIT}


def test_two_of_one_name_with_other_commits_are_told_none() -> None:
    other = COMMIT[::-1]
    seen = (SourceState(source(ref="a"), COMMIT, COMMIT), SourceState(source(ref="b"), other, other))
    assert pins(seen) == {}
    assert [state.commit for state in source_state.without_conflicts(seen)] == ["", ""]
    assert pins((seen[0], seen[0])) == {"DIB_REPOREF_x": COMMIT}


def test_a_lock_gives_states_and_refuses_what_it_does_not_know() -> None:
    seen = (SourceState(source(), COMMIT, COMMIT), SourceState(source("f", "file", ref=""), "ETag: 1"))
    entries = [state.to_lock() for state in seen]
    assert locked([state.source for state in seen], entries) == seen
    for other in (source(ref="main"), source(location="v"), source("y")):
        with pytest.raises(UsageError, match="the lock does not know the source repository"):
            locked([other], entries)


def test_a_download_of_another_state_goes(tmp_path: Path) -> None:
    old, new = (SourceState(source(kind="file", location="http://h/x"), state) for state in ("1", "2"))
    tree = SourceState(source(), COMMIT, COMMIT)
    # echo file_http://h/x | sha1sum
    name = (
        "x_"
        + subprocess.run(["sha1sum"], input=b"file_http://h/x\n", capture_output=True, check=True)
        .stdout.split()[0]
        .decode()
    )
    download = tmp_path / "source-repositories" / name
    download.parent.mkdir()
    download.write_text("old")
    source_cache.remember(tmp_path, [old, tree])
    source_cache.let_go(tmp_path, [old, tree], offline=True)
    assert download.exists()
    with pytest.raises(BuildError, match="not downloaded since it changed"):
        source_cache.let_go(tmp_path, [new], offline=True)
    assert download.exists()
    source_cache.let_go(tmp_path, [new, tree], offline=False)
    assert not download.exists()
    with pytest.raises(BuildError):
        source_cache.let_go(tmp_path, [old], offline=True)


def test_scripts_that_make_links_of_the_cache_s_folders_reach_nothing(tmp_path: Path) -> None:
    state, other = (SourceState(source(kind="file", location="http://h/x"), each) for each in ("1", "2"))
    name = source_cache.file_name(state.source)
    machine, cache = tmp_path / "machine", tmp_path / "cache"
    machine.mkdir()
    cache.mkdir()
    (machine / name).write_text("1")
    for folder in (source_cache.MARKS, source_cache.DOWNLOADS):
        (cache / folder).symlink_to(machine)
    with pytest.raises(BuildError, match="source-states in the scripts' cache is no folder any more"):
        source_cache.remember(cache, [other])
    with pytest.raises(BuildError, match="is no folder any more"):
        source_cache.let_go(cache, [state], offline=False)
    assert (machine / name).read_text() == "1"
    assert [file.name for file in machine.iterdir()] == [name]
