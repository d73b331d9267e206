"""Source repositories, from real git repositories and files behind a real HTTP server: fetched once, and noticed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from tests import upstream
from tests.integration.command import ELEMENTS, Command, has, script, write_element
from tests.integration.served_sources import Project, Server, git

SCRIPT = "98-source-repositories"


@pytest.fixture
def server(place: Path) -> Iterator[Server]:
    if not has("git", "curl", "rsync"):
        pytest.skip("there is no git, curl or rsync")
    (place / "www").mkdir()
    made = Server(place / "www")
    yield made
    made.http.shutdown()


@pytest.fixture
def project(server: Server) -> Project:
    return Project.begin(server.root, "project")


def elements(place: Path, server: Server, origin: Path | None) -> tuple[Path, ...]:
    """An elements path: what wants sources, and source-repositories from ``origin`` (None: the built-in ones)."""
    own = place / f"elements-{origin is not None}"
    write_element(
        own,
        "wants",
        {
            "element-deps": "source-repositories\n",
            # The image gets git as a package; this system has no packages.
            "root.d/20-more": script('cp -L /usr/bin/{dirname,install} "$TARGET_ROOT/usr/bin"'),
            "bin/install-packages": script("echo install-packages $*"),
            "source-repository-project": f"# by git\nproject git /opt/project {server.address}/project.git\n",
            "source-repository-files": f"one.x tar /opt/archive {server.address}/one.tar.gz inner\n"
            f"two tar /opt/all {server.address}/one.tar.gz .\n"
            f"note file /opt/notes/$NOTE {server.address}/note.txt",
            "environment.d/10-note.bash": "export NOTE=note.txt\n",
            "install.d/50-after": script("sha256sum /opt/project/README > /etc/seen"),
        },
    )
    with (own / "wants/source-repository-files").open("a") as file:
        file.write("\n")
    for name in ("source-repositories", "cache-url"):
        if origin is None:
            break
        shutil.copytree(origin / name, own / name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    return (own, ELEMENTS)


def _upstream() -> Path:
    try:
        return upstream.elements()
    except RuntimeError as error:
        pytest.skip(str(error))


UPSTREAM = pytest.param("upstream", marks=pytest.mark.thorough("every test once more, with upstream's element"))


@pytest.fixture(params=["built-in", UPSTREAM])
def command(request: pytest.FixtureRequest, place: Path, server: Server, project: Project) -> Command:
    server.archive("one.tar.gz", {"./": "", "inner/": "", "inner/a.sh": "1", "inner/b/c": "2", "other/d": "3"})
    server.write("note.txt", b"first", 1_700_000_000)
    origin = _upstream() if request.param == "upstream" else None
    return Command("host", place / "store", place / "out", elements(place, server, origin))


def tree(command: Command, *, with_git: bool = False) -> dict[str, tuple[int, str]]:
    """Mode and content of each file of the last image below /opt, and of what the element writes down."""
    found = {}
    with tarfile.open(command.destination / "wants.tar") as archive:
        for entry in archive:
            name = entry.name.removeprefix("./")
            is_git = "/.git" in f"/{name}"
            if name.startswith(("opt/", "etc/dib-")) and (with_git or not is_git) and "dib_environment" not in name:
                content = archive.extractfile(entry) if entry.isfile() else None
                data = content.read().decode("utf-8", "replace") if content else entry.linkname
                found[name] = (entry.mode, data)
    return found


WHAT = ("-o", "tar", "--name", "wants", "tiny-os", "wants")


def test_sources_are_in_the_image_and_an_unmoved_one_is_a_hit(
    command: Command, server: Server, project: Project
) -> None:
    command.build(*WHAT)
    files = {name: data for name, (_, data) in tree(command).items()}
    assert files["opt/project/README"] == "first\n"
    assert files["opt/project/deep/a/b"] == "b\n"
    assert files["opt/archive/a.sh"] == "1"
    assert files["opt/archive/b/c"] == "2"
    assert files["opt/all/other/d"] == "3"
    assert files["opt/notes/note.txt"] == "first"
    assert sorted(files["etc/dib-source-repositories"].split()) == [
        "/opt/all",
        "/opt/archive",
        "/opt/notes/note.txt",
        "/opt/project",
    ]
    location = f"{server.address}/project.git"
    manifest = files["etc/dib-manifests/dib-manifest-git-wants"]
    assert manifest == f"project git /opt/project {location} {project.head}\n"
    assert command.build(*WHAT).titles("start") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_upstreams_element_and_the_built_in_one_give_the_same_tree(
    place: Path, server: Server, project: Project
) -> None:
    server.archive("one.tar.gz", {"./": "", "inner/": "", "inner/a.sh": "1", "inner/b/c": "2", "other/d": "3"})
    server.write("note.txt", b"first", 1_700_000_000)
    trees: list[dict[str, tuple[int, str]]] = []
    for origin in (None, _upstream()):
        made = Command("host", place / f"store-{len(trees)}", place / "out", elements(place, server, origin))
        made.build(*WHAT)
        found = tree(made)
        paths = found["etc/dib-source-repositories"]
        found["etc/dib-source-repositories"] = (paths[0], "\n".join(sorted(paths[1].split())))
        trees.append(found)
    assert trees[0] == trees[1]


def test_a_moved_branch_runs_the_stage_again_and_what_follows(command: Command, project: Project) -> None:
    command.build(*WHAT)
    commit = project.move("second\n")
    again = command.build(*WHAT)
    started = again.titles("start")
    assert started[0] == SCRIPT
    assert "50-after" in started
    assert "10-copy-shell" not in started
    files = tree(command)
    assert files["opt/project/README"][1] == "second\n"
    assert commit in files["etc/dib-manifests/dib-manifest-git-wants"][1]
    git(project.work, "checkout", "-q", "-b", "elsewhere")
    project.move("third\n")
    assert command.build(*WHAT).titles("start") == [], "another branch does not matter"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_changed_file_runs_the_stage_again_also_where_it_is_older(command: Command, server: Server) -> None:
    command.build(*WHAT)
    server.write("note.txt", b"older", 1_600_000_000)
    assert command.build(*WHAT).titles("start")[0] == SCRIPT
    assert tree(command)["opt/notes/note.txt"][1] == "older"
    server.archive("one.tar.gz", {"inner/": "", "inner/new": "4"}, 1_500_000_000)
    command.build(*WHAT)
    assert tree(command)["opt/archive/new"][1] == "4"
    assert command.build(*WHAT).titles("start") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_offline_builds_from_what_was_seen_and_downloaded(command: Command, server: Server, project: Project) -> None:
    refused = command("build", "--offline", *WHAT)
    assert refused.status == 1
    assert "was never recorded" in refused.stderr
    command.build(*WHAT)
    commit = project.head
    project.move("second\n")
    server.write("note.txt", b"second", 1_700_000_001)
    server.asked.clear()
    assert command.build("--offline", *WHAT).titles("start") == []
    afresh = command.build("--offline", "--no-cache", *WHAT)
    assert SCRIPT in afresh.titles("start")
    assert server.asked == []
    files = tree(command)
    assert files["opt/project/README"][1] == "first\n"
    assert files["opt/notes/note.txt"][1] == "first"
    assert commit in files["etc/dib-manifests/dib-manifest-git-wants"][1]


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_branch_that_moves_between_plan_and_stage_gives_the_planned_commit(
    command: Command, server: Server, project: Project
) -> None:
    planned = project.head
    moves = iter(["while it runs\n"])

    def move(request: str) -> None:
        # git asks for the references: once for the plan, then for the stage.
        if "info/refs" in request and sum("info/refs" in asked for asked in server.asked) == 1:
            for text in moves:
                project.move(text)

    server.before = move
    command.build(*WHAT)
    assert next(moves, None) is None, "it moved"
    files = tree(command)
    assert files["opt/project/README"][1] == "first\n"
    assert planned in files["etc/dib-manifests/dib-manifest-git-wants"][1]
    command.build(*WHAT)
    assert tree(command)["opt/project/README"][1] == "while it runs\n"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_file_that_changes_while_the_stage_runs_is_noticed(command: Command, server: Server) -> None:
    changes = iter([b"while it runs"])

    def change(request: str) -> None:
        if request == "GET /note.txt":
            for data in changes:
                server.write("note.txt", data, 1_700_000_009)

    server.before = change
    outcome = command.build(*WHAT)
    assert [event for event in outcome.events if event["type"] == "note" and "moved during the build" in event["text"]]
    assert tree(command)["opt/notes/note.txt"][1] == "while it runs"
    assert command.build(*WHAT).titles("start") == []


@pytest.mark.thorough("five builds; `just test` has locks of packages (locks/test_lock.py)")
def test_a_lock_names_commits_and_builds_from_them(
    command: Command, server: Server, project: Project, place: Path
) -> None:
    lock = str(place / "lock.json")
    command.build("--lock", lock, *WHAT)
    planned = project.head
    assert planned in Path(lock).read_text()
    project.move("second\n")
    command.build(*WHAT)
    locked = command.build("--locked", lock, *WHAT)
    assert locked.titles("start") == [], locked.events[0]
    afresh = command.build("--locked", lock, "--no-cache", "--lock", str(place / "again.json"), *WHAT)
    assert SCRIPT in afresh.titles("start")
    assert tree(command)["opt/project/README"][1] == "first\n"
    assert (place / "again.json").read_text() == Path(lock).read_text()
    other = command("build", "--locked", lock, "--set", "DIB_REPOREF_project=1.0", *WHAT)
    assert other.status == 2
    server.write("note.txt", b"second", 1_700_000_001)
    gone = command("build", "--locked", lock, "--no-cache", *WHAT)
    assert gone.status == 1
    assert "note" in gone.stderr
    assert "is not what the lock says" in gone.stderr


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_locked_commit_that_is_gone_is_an_error(
    command: Command, server: Server, project: Project, place: Path
) -> None:
    lock = str(place / "lock.json")
    command.build("--lock", lock, *WHAT)
    shutil.rmtree(project.bare)
    shutil.rmtree(project.work)
    Project.begin(server.root, "project").move("history rewritten\n")
    elsewhere = Command("host", place / "store-2", place / "out-2", command.elements)
    gone = elsewhere("build", "--locked", lock, *WHAT)
    # The commits have the same content and author, but not the same time.
    assert gone.status == 1, gone.stdout
    failed = [event for event in gone.events if event["type"] == "failed"]
    assert failed[0]["script"] == SCRIPT


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
@pytest.mark.parametrize("ref", ["1.0", "refs/changes/7", "commit", "*"])
def test_references_of_all_kinds(command: Command, project: Project, ref: str) -> None:
    first = project.head
    git(project.bare, "update-ref", "refs/changes/7", first)
    project.move("second\n")
    second = project.head
    wanted = first if ref == "commit" else ref
    variables = {"DIB_REPOREF_project": wanted}
    command.build(*WHAT, variables=variables)
    commit = second if ref == "*" else first
    assert commit in tree(command)["etc/dib-manifests/dib-manifest-git-wants"][1]
    assert tree(command)["opt/project/README"][1] == ("second\n" if ref == "*" else "first\n")
    git(project.work, "branch", "more")
    project.publish()
    started = command.build(*WHAT, variables=variables).titles("start")
    assert (SCRIPT in started) == (ref == "*")


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_server_that_speaks_gits_own_protocol(command: Command, server: Server, project: Project) -> None:
    variables = {"DIB_REPOLOCATION_project": f"{server.address}/smart/project.git"}
    command.build(*WHAT, variables=variables)
    assert any(request.startswith("POST /smart/project.git/git-upload-pack") for request in server.asked)
    assert command.build(*WHAT, variables=variables).titles("start") == []
    gone = project.move("second\n")
    command.build(*WHAT, variables=variables)
    git(project.work, "reset", "-q", "--hard", "HEAD~1")
    project.move("another second\n")
    command.build(*WHAT, variables={**variables, "DIB_REPOREF_project": gone})
    assert tree(command)["opt/project/README"][1] == "second\n", "in no branch any more, but the server has it"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_the_base_of_all_git_locations(command: Command, server: Server, project: Project) -> None:
    command.build(*WHAT, variables={"DIB_GITREPOBASE": f"{server.address}/smart/"})
    manifest = tree(command)["etc/dib-manifests/dib-manifest-git-wants"][1]
    assert manifest == f"project git /opt/project {server.address}/smart/project.git {project.head}\n"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_folder_of_this_machine_is_a_location(command: Command, project: Project, place: Path) -> None:
    git(place, "clone", "-q", "--bare", "--no-hardlinks", str(project.bare), str(place / "mine.git"))
    for location in (str(place / "mine.git"), f"file://{place}/mine.git"):
        command.build(*WHAT, variables={"DIB_REPOLOCATION_project": location})
        assert tree(command)["opt/project/README"][1] == "first\n"
    git(project.work, "push", "-q", str(place / "mine.git"), f"{project.commit({'README': 'mine'})}:refs/heads/master")
    command.build(*WHAT, variables={"DIB_REPOLOCATION_project": f"file://{place}/mine.git"})
    assert tree(command)["opt/project/README"][1] == "mine"


def test_what_is_not_there_is_said_before_anything_runs(command: Command, server: Server) -> None:
    for variables, said in (
        ({"DIB_REPOREF_project": "mater"}, "did you mean 'master'?"),
        ({"DIB_REPOLOCATION_project": f"{server.address}/none.git"}, "does not answer"),
        ({"DIB_REPOLOCATION_note": f"{server.address}/none.txt"}, "404"),
        ({"DIB_REPOLOCATION_note": "/var/tmp/none.txt"}, "scripts cannot see"),
        ({"DIB_REPOTYPE_note": "package"}, "DIB_INSTALLTYPE_note=package"),
    ):
        outcome = command("build", *WHAT, variables=variables)
        assert outcome.status in (1, 2)
        assert said in outcome.stderr, outcome.stderr
        assert "element wants, source-repository-" in outcome.stderr
        assert not [event for event in outcome.events if event["type"] == "start"]


def test_nothing_is_asked_where_nothing_is_fetched(command: Command, server: Server) -> None:
    plan = command("plan", "--set", "NO_SOURCE_REPOSITORIES=1", "tiny-os", "wants")
    assert plan.status == 0, plan.stderr
    plan = command("plan", "tiny-os", "wants", variables={"DIB_DEFAULT_INSTALLTYPE": "package"})
    assert plan.status == 0, plan.stderr
    assert server.asked == []


# -- the built-in element alone -------------------------------------------------------------------------------------


@pytest.fixture
def built_in(place: Path, server: Server, project: Project) -> Command:
    server.archive("one.tar.gz", {"./": "", "inner/": "", "inner/a.sh": "1"})
    server.write("note.txt", b"first", 1_700_000_000)
    return Command("host", place / "store", place / "out", elements(place, server, None))


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_git_trees_are_the_same_from_every_store_and_clean(
    built_in: Command, project: Project, place: Path, server: Server
) -> None:
    built_in.build(*WHAT)
    history = project.head
    for number in range(20):
        project.move(f"{number}\n" * 50)
    built_in.build(*WHAT)
    fresh = Command("host", place / "store-2", place / "out-2", built_in.elements)
    fresh.build(*WHAT)
    assert tree(built_in, with_git=True) == tree(fresh, with_git=True)
    unpack = ["tar", "-C", str(place), "-xf", str(fresh.destination / "wants.tar"), "--wildcards", "*opt/project"]
    subprocess.run(unpack, check=True)
    checkout = next(place.glob("**/opt/project"))
    config = (checkout / ".git/config").read_text()
    assert f"url = {server.address}/project.git" in config
    assert "/run/" not in config
    assert git(checkout, "-c", "safe.directory=*", "status", "--porcelain") == ""
    assert git(checkout, "-c", "safe.directory=*", "describe").startswith("1.0-20-g")
    assert git(checkout, "-c", "safe.directory=*", "rev-parse", "HEAD") == project.head != history


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_tree_can_come_without_its_history(built_in: Command) -> None:
    built_in.build(*WHAT, variables={"DIB_SOURCE_GIT": "none"})
    assert not [name for name in tree(built_in, with_git=True) if "/.git" in name]
    wrong = built_in("build", *WHAT, variables={"DIB_SOURCE_GIT": "some"})
    assert wrong.status == 1
    assert "full or none" in wrong.stderr


def test_the_built_in_elements_are_used_where_no_path_has_them() -> None:
    assert (BUILTIN / "source-repositories").is_dir()
    assert (BUILTIN / "cache-url/bin/cache-url").is_file()
