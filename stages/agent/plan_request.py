"""From a request to its plan: the elements' environment, the state of repositories, the stages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from blockdev.core.errors import BuildError
from stages.agent.work import Work
from stages.element import dib_runtime, source_repositories
from stages.element.environment import PATH, RELEASE, as_functions, capture_argv, initial, parse_capture, snippets
from stages.element.hook_checks import refuse_odd
from stages.element.hooks import HooksTree, merge
from stages.element.left_files import left_files
from stages.element.release_facts import built_release
from stages.element.tree_snippets import Sourcing, sourcing
from stages.layers.given_places import removed_afterwards
from stages.layers.hooks_folder import write_hooks
from stages.layers.stage_environment import PLACES
from stages.lock import steps as locked
from stages.plan.plan import Plan, asks_repositories, make_plan
from stages.protocol import events
from stages.protocol.emit import emit, redact_with
from stages.repositories import apt_sources
from stages.repositories.source_state import SourceQuery
from stages.repositories.ubuntu_archive import ubuntu_archive
from stages.sandbox import sandbox, system
from stages.sandbox.paths import BUILD_DIR, HOOKS_OUTSIDE, KEPT_OUTSIDE
from stages.sandbox.view import View


def own_mirror() -> dict[str, str]:
    """The build image's own Debian mirror: what elements fall back on where the machine that asks has none."""
    try:
        mirror = apt_sources.debian_mirror()
    except BuildError:
        return {}
    mirrors = {"DIB_CTR_DEBIAN_MIRROR": mirror.archive, "DIB_CTR_DEBIAN_SECURITY_MIRROR": mirror.security}
    return {name: address for name, address in mirrors.items() if address}


def _ubuntu_mirror(work: Work) -> dict[str, str]:
    """Ubuntu's own archive, where the image is Ubuntu's and the machine that asks has no mirror of it."""
    if built_release(work.elements, work.request.variables, work.request.arch).distribution != "ubuntu":
        return {}
    address = ubuntu_archive(work.request.arch)
    return {"DIB_CTR_UBUNTU_MIRROR": address} if address else {}


def capture_environment(work: Work, merged: HooksTree) -> tuple[dict[str, str], Sourcing, HooksTree]:
    """Source the elements' environment.d snippets in a sandbox without network and return what they export.

    And what of it hangs on the root that they are sourced in, and the files that they have left in /tmp. They begin
    with what is known of the release, so they are sourced again where they turn out to set another one.
    """
    functions = as_functions(dib_runtime.functions(work.elements, HOOKS_OUTSIDE))
    release = built_release(work.elements, work.request.variables, work.request.arch)
    before = release.facts()
    sourcing = _sourcing(work, merged, {**before, **_before(work), **functions})
    captured, left = _source(work, merged, sourcing)
    after = release.after(captured).facts()
    if after != before:
        sourcing = _sourcing(work, merged, {**after, **_before(work), **functions})
        captured, left = _source(work, merged, sourcing)
    _tell_of_release(work.request.variables.get(RELEASE, ""), captured.get(RELEASE, ""))
    # Each stage is told its places anew: they are in no key.
    captured = {name: value for name, value in captured.items() if PLACES.get(name) != value}
    return {name: value for name, value in captured.items() if name not in functions}, sourcing, left


def _before(work: Work) -> dict[str, str]:
    """The variables before any snippet, without what is known of the release."""
    variables = {
        **own_mirror(),
        **_ubuntu_mirror(work),
        **initial(work.request, 0),
        "PATH": PATH,
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "TMP_HOOKS_PATH": HOOKS_OUTSIDE,
        **PLACES,
    }
    if "SOURCE_DATE_EPOCH" not in work.request.variables:
        del variables["SOURCE_DATE_EPOCH"]
    return variables


def _sourcing(work: Work, merged: HooksTree, variables: Mapping[str, str]) -> Sourcing:
    return sourcing(snippets(merged), variables, merged, work.request.builtin)


def _source(work: Work, merged: HooksTree, sourcing: Sourcing) -> tuple[dict[str, str], HooksTree]:
    """Source the snippets once: what they export, and the files that they have left in /tmp. Raises BuildError."""
    variables = {**sourcing.initial, "DIB_CTR_CAPTURE": f"{BUILD_DIR}/cwd/capture"}
    scratch = work.scratch / "environment"
    for name in ("tree", "cwd", "stage"):
        (scratch / name).mkdir(parents=True)
    for name, mode in KEPT_OUTSIDE.items():
        (scratch / "outside" / name).mkdir(parents=True)
        (scratch / "outside" / name).chmod(mode)
    hooks = write_hooks(merged, scratch / "hooks")
    host_files = {path: work.host_files / digest for path, digest in work.request.given.items()}
    host_files = {
        path: file for path, file in host_files.items() if file.is_file()
    }  # the others come when a stage needs them
    tree, cwd, stage = (scratch / name for name in ("tree", "cwd", "stage"))
    outside = scratch / "outside"
    view = View(False, tree, cwd, hooks, stage, masked=(work.store.root,), given=host_files, outside=outside)
    output = bytearray()
    argv = capture_argv([f"{HOOKS_OUTSIDE}/{hook.path}" for hook in snippets(merged)])
    with removed_afterwards(outside, host_files):
        status = sandbox.run(view, argv, variables, output.extend, stopped=work.control.gone)
    if fault := sandbox.engine_fault(status, output.decode("utf-8", "replace")):
        raise fault
    if status != 0:
        last = output.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise BuildError(
            "the elements' environment.d could not be read:\n  " + "\n  ".join(last),
            where="environment.d",
            hint="correct the snippet, or set the variable it asks for with --set",
        )
    captured = parse_capture((scratch / "cwd" / "capture").read_bytes())
    left = left_files(outside, (folder for folder in KEPT_OUTSIDE if folder.endswith("tmp")))
    shutil.rmtree(scratch)
    return captured, left


def _tell_of_release(asked: str, captured: str) -> None:
    if asked and captured != asked:
        emit(
            events.Note(
                text=f"an element's environment.d sets {RELEASE} to {captured!r}, though {asked!r} was asked for"
            )
        )


def plan_request(work: Work) -> tuple[Plan, Callable[[Mapping[str, HooksTree]], Plan]]:
    """The plan of the work's request at the present state of its repositories, and what makes it anew.

    The latter takes scripts that stages have left for later phases.
    """
    merged = merge(work.elements)
    refuse_odd(merged.values(), dict(work.elements))
    environment, late, left = capture_environment(work, merged)
    merged.update(left)
    redaction = work.redaction(environment)
    redact_with(redaction.event)
    files = dib_runtime.repository_files(work.elements) if source_repositories.are_fetched(merged) else {}
    with ThreadPoolExecutor(1) as pool:
        question = source_query(work, environment)
        asked = pool.submit(locked.sources, work.request, source_repositories.read(files, environment), question)
        asking = asks_repositories(work.request, work.elements, merged, environment)
        states = locked.states(work.request, environment, work.store.root / "repositories", asking=asking)
        digests = work.digests_with(redaction)
        plan_at = partial(make_plan, work.request, work.elements, merged, environment)
        rest = (asked.result(), digests, late)

    def plan_anew(left: Mapping[str, HooksTree] | None = None) -> Plan:
        nonlocal states
        # Scripts that others have left may be the first that ask. (The script that fetches lists is over by then.)
        if (
            not asking
            and not states
            and left
            and asks_repositories(work.request, work.elements, merged, environment, left)
        ):
            states = locked.states(work.request, environment, work.store.root / "repositories")
        return plan_at(states, *rest, left, asking=asking)

    plan = plan_anew()
    for sentence in plan.remarks:
        emit(events.Note(text=sentence))
    return plan, plan_anew


def source_query(work: Work, environment: Mapping[str, str]) -> SourceQuery:
    folder = work.store.root / "repositories"
    host_files = work.digests.of_all_given(work.request.given)
    return SourceQuery(dict(environment), folder, host_files, work.request.offline, system.hidden())
