"""The plan of a build: its stages in order, each with the files and variables it sees and the key over them.

A plan is a pure value made from the request, the elements' files, the captured environment and the repositories' state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core.digest import digest
from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from stages.element import dib_runtime, left_files, references, tracing
from stages.element.environment import SERVICES, as_functions, parted, without_services
from stages.element.hooks import GENERATED, PHASE_FOLDERS, PHASES, SCRIPT_NAME, HookFile, HooksTree, Phase, scripts
from stages.element.package_installs import package_installs, read_pkg_maps, render_pkg_map, render_svc_map
from stages.element.tree_snippets import NOTHING, Sourcing
from stages.plan import late_variables, repository_use
from stages.plan.key import key_of
from stages.protocol.request import Request
from stages.redaction.keyed import KEYED, SEEN, KeyDigests
from stages.repositories.source_state import SourceState, pins
from stages.repositories.state import State
from stages.sandbox.paths import HOOKS_INSIDE, HOOKS_OUTSIDE

OWN = "dib-ctr"  # the element of the stages that the build itself adds
OWN_FOLDER = "dib-ctr.d"
PACKAGE_LISTS = "package-installs.d"
INSTALL_TYPES = "install-types"  # the element for whose sake ``install.d`` has folders of scripts
ALWAYS = frozenset({"ARCH", "LC_ALL", "SOURCE_DATE_EPOCH"})


@dataclass(frozen=True)
class Stage:
    """One script of one phase.

    ``files`` are the hooks it sees (itself among them), ``environment`` the variables; ``network`` tells whether it has
    any, ``packages`` whether it installs from repositories, ``image_cache`` whether it uses the scripts' own cache.
    ``inputs`` are the parts that ``key`` covers. ``number`` counts from 1. ``given`` are the paths of the files of the
    user's machine that it sees, ``sources`` the source repositories that it fetches, ``late`` the variables that it is
    given just before it runs (``stages.plan.late_variables``).
    """

    number: int
    phase: Phase
    script: HookFile
    files: Mapping[str, HookFile]
    environment: Mapping[str, str]
    network: bool
    packages: bool
    inputs: Mapping[str, str]
    key: str
    image_cache: bool = False
    given: tuple[str, ...] = ()
    sources: tuple[SourceState, ...] = ()
    late: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The script's file name."""
        return self.script.path.rpartition("/")[2]

    @property
    def title(self) -> str:
        """Phase, element and script as a person names a stage."""
        return f"{self.phase.name}/{self.script.element}/{self.name}"


@dataclass(frozen=True)
class Plan:
    """All stages of one build, in order; ``functions`` are the bodies of those that environment.d exports.

    ``remarks`` are sentences for who builds.
    """

    stages: tuple[Stage, ...]
    environment: Mapping[str, str]
    repositories: tuple[State, ...] = ()
    sources: tuple[SourceState, ...] = ()
    functions: Mapping[str, str] = field(default_factory=dict)
    sourcing: Sourcing = NOTHING
    remarks: tuple[str, ...] = ()

    @property
    def tree_key(self) -> str:
        """The key of the finished tree."""
        return self.stages[-1].key

    def find(self, text: str) -> Stage:
        """The stage of a number, a script's name, ``phase/script`` or ``phase/element/script``.

        Raises UsageError where none or several match.
        """
        matches = [stage for stage in self.stages if text in _names(stage)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            numbers = ", ".join(f"{stage.number} ({stage.title})" for stage in matches)
            raise UsageError(f"{text!r} is the name of several stages: {numbers}", hint="give the number or the title")
        names = [name for stage in self.stages for name in _names(stage)]
        raise UsageError(f"no stage is called {text!r}", hint=nearest(text, names) or "`dib-ctr plan` lists them all")


def _names(stage: Stage) -> set[str]:
    phase, name = stage.phase.name, stage.name
    return {str(stage.number), name, f"{phase}/{name}", f"{stage.phase.folder}/{name}", stage.title}


def generated(
    elements: Sequence[tuple[str, Path]],
    merged: HooksTree,
    environment: Mapping[str, str],
    packages: Sequence[str],
    builtin: Sequence[str],
) -> dict[str, HookFile]:
    """The hooks that the plan itself makes: package lists, name tables, scripts of the chosen install types."""
    texts: dict[str, str] = {}
    for phase, listed in package_installs(elements, environment).items():
        texts[f"{PACKAGE_LISTS}/{phase}/install"] = "".join(f"{name}\n" for name in listed.install)
        texts[f"{PACKAGE_LISTS}/{phase}/uninstall"] = "".join(f"{name}\n" for name in listed.uninstall)
    for element, data in read_pkg_maps(elements).items():
        texts[f"pkg-map.d/{element}"] = render_pkg_map(data)
    texts["svc-map.d/services"] = render_svc_map(elements, environment.get("DISTRO_NAME", ""))
    if packages:
        texts[f"{OWN_FOLDER}/named-packages.list"] = "".join(f"{name}\n" for name in packages)
    hooks = {path: HookFile(path, GENERATED, 0o644, text.encode()) for path, text in texts.items()}
    hooks.update(dib_runtime.files(elements, merged))
    hooks.update(commands_for_the_image(merged, builtin))
    if any(name == INSTALL_TYPES for name, _ in elements):
        hooks.update(install_type_scripts(merged, environment))
    return hooks


def commands_for_the_image(merged: HooksTree, builtin: Sequence[str]) -> dict[str, HookFile]:
    """The commands in ``bin/`` that elements bring for the image itself (``install-bin``), in a folder of their own.

    Those of built-in elements serve the build alone and stay out of the image.
    """
    return {
        f"install-bin.d/{name}": HookFile(f"install-bin.d/{name}", GENERATED, 0o755, hook.data)
        for path, hook in merged.items()
        for folder, _, name in (path.partition("/"),)
        if folder == "bin" and hook.element not in builtin
    }


def install_type_scripts(merged: HooksTree, environment: Mapping[str, str]) -> dict[str, HookFile]:
    """The scripts of ``install.d/<name>-<type>-install/`` whose type is the chosen one, as scripts of ``install.d``.

    ``DIB_INSTALLTYPE_<name>`` chooses (with ``_`` for ``-``), else ``DIB_DEFAULT_INSTALLTYPE``.
    """
    default = environment.get("DIB_DEFAULT_INSTALLTYPE", "source")
    chosen: dict[str, HookFile] = {}
    for path, hook in merged.items():
        parts = path.split("/")
        if len(parts) != 3 or parts[0] != "install.d" or not parts[1].endswith("-install"):
            continue
        name, _, kind = parts[1].removesuffix("-install").rpartition("-")
        install_type = environment.get("DIB_INSTALLTYPE_" + name.replace("-", "_"), default)
        if not name or kind != install_type or not hook.mode & 0o111 or not SCRIPT_NAME.match(parts[2]):
            continue
        target = f"install.d/{parts[2]}"
        if target in merged or target in chosen:
            raise UsageError(
                f"the script {path} would be {target}, which is there already", where=f"element {hook.element}"
            )
        chosen[target] = dataclasses.replace(hook, path=target)
    return chosen


def own_scripts() -> dict[str, HookFile]:
    """The scripts that every build runs besides the elements' ones, by name."""
    folder = Path(__file__).parents[1] / "scripts"
    return {
        file.name: HookFile(f"{OWN_FOLDER}/{file.name}", OWN, 0o755, file.read_bytes())
        for file in sorted(folder.iterdir())
        if SCRIPT_NAME.match(file.name)
    }


def _in_order(tree: HooksTree, named_packages: bool, disk: bool, on_disk: bool) -> list[tuple[Phase, HookFile]]:
    """All scripts in order; ``on_disk``: those of the last phases run on the finished disk and are no stages."""
    own = own_scripts()
    order: list[tuple[Phase, HookFile]] = []
    for phase in PHASES:
        if phase.name == "pre-finalise" and disk:
            order.append((phase, own["write-fstab"]))
            if on_disk:
                return order
        order.extend((phase, script) for script in scripts(tree, phase))
        if phase.name == "root":
            order.append((phase, own["prepare-tree"]))
        if phase.name == "install" and named_packages:
            order.append((phase, own["named-packages"]))
    order.append((PHASE_FOLDERS["cleanup.d"], own["seal-tree"]))
    return order


def _on_disk(tree: HooksTree) -> list[HookFile]:
    """The scripts of the last phases, which run on a finished disk."""
    first = next(index for index, phase in enumerate(PHASES) if phase.name == "pre-finalise")
    return [script for phase in PHASES[first:] for script in scripts(tree, phase)]


def _has_empty_lists_only(files: Mapping[str, HookFile]) -> bool:
    """Are package lists the business of a built-in stage, and all of them empty: then it is no stage at all."""
    lists = [hook for path, hook in files.items() if path.startswith(f"{PACKAGE_LISTS}/")]
    return bool(lists) and not any(hook.data for hook in lists)


def asks_repositories(
    request: Request,
    elements: Sequence[tuple[str, Path]],
    merged: HooksTree,
    environment: Mapping[str, str],
    left: Mapping[str, HooksTree] | None = None,
) -> bool:
    """Does any script of the plan of these ask a package repository; what begins with an image may need none.

    The arguments are those of :func:`make_plan`.
    """
    if not repository_use.begins_with_image(environment):
        return True
    environment, exported = parted(environment)
    tree = {**merged, **generated(elements, merged, environment, request.packages, request.builtin)}
    tree |= {path: hook for files in (left or {}).values() for path, hook in files.items()}
    on_disk = bool(request.disk.get("privileged"))
    order = [script for _, script in _in_order(tree, bool(request.packages), bool(request.disk), on_disk)]
    for script in [*order, *(_on_disk(tree) if on_disk else ())]:
        files = references.visible_files(script, tree)
        if script.element in request.builtin:
            if _has_empty_lists_only(files) or repository_use.asks_nothing(script, environment):
                continue
            if repository_use.is_needless(script, environment, asking=False):
                continue
        if references.uses_packages(_code(script, files, exported)):
            return True
    return False


def _code(script: HookFile, files: Mapping[str, HookFile], exported: Mapping[str, str]) -> list[str]:
    """The texts that a script runs: its own, the commands that it names, and the functions of environment.d."""
    code = [hook.text for hook in files.values() if hook is script or hook.path.startswith("bin/")]
    bodies = references.visible_functions([hook.text for hook in files.values()], exported)
    return [*code, *bodies.values()]


def make_plan(
    request: Request,
    elements: Sequence[tuple[str, Path]],
    merged: HooksTree,
    environment: Mapping[str, str],
    repositories: Sequence[State],
    sources: Sequence[SourceState] = (),
    digests: KeyDigests | None = None,
    sourcing: Sourcing = NOTHING,
    left: Mapping[str, HooksTree] | None = None,
    *,
    asking: bool = True,
) -> Plan:
    """The plan: ``elements`` as (name, folder), ``merged`` their hooks tree, ``environment`` as captured.

    ``repositories`` and ``sources`` are the states of package and source repositories. ``digests`` makes the digests of
    variables and given files: of secrets they are keyed ones. ``sourcing`` is what of environment.d hangs on the tree.
    ``left`` are scripts as stages (by title) have left them for later phases (``stages.layers.later_scripts``).
    ``asking``: does any of its scripts ask a repository (:func:`asks_repositories`).
    """
    digests = digests or KeyDigests()
    environment, exported = parted(environment)
    tree = {**merged, **generated(elements, merged, environment, request.packages, request.builtin)}
    left = left or {}
    final = {**tree, **{path: hook for files in left.values() for path, hook in files.items()}}
    keyed = {**without_services(environment), **dib_runtime.variables(elements, HOOKS_OUTSIDE)}
    functions = dib_runtime.functions(elements, HOOKS_OUTSIDE)
    stages: list[Stage] = []
    below = ""
    seen = False
    remarks = [late_variables.remark_on_packages(sourcing, elements)]
    on_disk = bool(request.disk.get("privileged"))
    for phase, script in _in_order(final, bool(request.packages), bool(request.disk), on_disk):
        files = references.visible_files(script, tree)
        traced = tracing.is_traced(script.text, environment)
        if traced:
            files[tracing.FILE] = tracing.file()
        if script.element in request.builtin and _has_empty_lists_only(files):
            continue
        if script.element in request.builtin and repository_use.is_needless(script, environment, asking=asking):
            continue
        code = _code(script, files, exported)
        texts = [hook.text for hook in files.values()]
        bodies = references.visible_functions(texts, exported)
        texts = [*texts, *bodies.values()]
        variables = references.visible_variables(texts, keyed, ALWAYS)
        if not phase.inside:  # on its way into the tree the environment loses all functions, in diskimage-builder too
            variables.update(as_functions({name: functions[name] for name in references.names_in(texts, functions)}))
        variables.update(as_functions(bodies))
        if traced:
            variables.update(tracing.variables(HOOKS_INSIDE if phase.inside else HOOKS_OUTSIDE))
        fetched = () if phase.inside else _fetched(code, files, sources)
        variables.update(pins(fetched))
        quiet = script.element in request.builtin and repository_use.asks_nothing(script, environment)
        packages = not quiet and references.uses_packages(code)
        network = not quiet and references.uses_network(code)
        variables.update(_named_services(request, files.values(), environment, network=network))
        late = late_variables.of_stage(sourcing, phase, texts, variables)
        remarks.append(late_variables.remark(sourcing, phase, script, texts, late))
        variables = {name: value for name, value in variables.items() if name not in late}
        if not phase.inside:
            files.update(left_files.named_by(tree, variables))
        inputs = {
            "below": below,
            "phase": phase.folder,
            "script": digest(f"{script.path} {script.digest}"),
            "network": "yes" if network else "no",
            **{f"file {path}": hook.digest for path, hook in files.items() if path != script.path},
            **{f"variable {name}": digests.of_variable(name, value) for name, value in variables.items()},
            **late_variables.inputs(sourcing, late, keyed, digests),
        }
        if not phase.inside:
            inputs["build image"] = request.image
        if packages:
            inputs.update({f"repository {state.shown}": state.digest for state in repositories})
        inputs.update({f"source {state.source}": state.state for state in fetched})
        if phase.inside:  # a secret's content is part of no key, and not even its digest is written down
            host_files = references.visible_secrets(variables, request.given) if packages else ()
        else:
            host_files = references.visible_given(texts, variables, request.given)
            inputs.update({f"given {path}": digests.of_given(path, request.given[path]) for path in host_files})
        seen = seen or any(value.startswith(KEYED) for value in inputs.values())
        if seen:  # so do all that lie upon it: their keys tell of its key
            inputs[SEEN] = digests.whose
        below = key_of(inputs)
        cache = not phase.inside and bool(references.names_in(code, ("DIB_IMAGE_CACHE", "DIB_LOCKFILES")))
        number = len(stages) + 1
        stages.append(
            Stage(
                number,
                phase,
                script,
                files,
                variables,
                network,
                packages,
                inputs,
                below,
                cache,
                host_files,
                fetched,
                late,
            )
        )
        tree.update(left.get(stages[-1].title, {}))
    if on_disk:
        remarks += late_variables.remarks_on_disk(sourcing, _on_disk(tree))
    plan_remarks = tuple(filter(None, remarks))
    return Plan(tuple(stages), environment, tuple(repositories), tuple(sources), exported, sourcing, plan_remarks)


def _named_services(
    request: Request, files: Iterable[HookFile], environment: Mapping[str, str], *, network: bool
) -> dict[str, str]:
    """How the machine reaches the network, as far as the texts of a stage name it: then it is an input like others.

    Built-in elements hand it to the package tools alone, so it changes nothing of theirs. ``DIB_OFFLINE`` goes with
    the network itself (``stages.plan.offline``), unless somebody has set it otherwise; without one it counts where it
    says that the build is offline, for scripts that are not built in.
    """
    hooks = list(files)
    services = {name: environment[name] for name in SERVICES if name in environment}
    offline = {"DIB_OFFLINE": services.pop("DIB_OFFLINE", "")}
    texts = [hook.text for hook in hooks if _element_of(hook) not in {*request.builtin, GENERATED, OWN}]
    visible = references.visible_variables(texts, services, frozenset())
    visible |= {name: services[name] for name in references.built_proxies(texts, services)}
    if references.ask_for_all(texts):
        visible = services
    if offline["DIB_OFFLINE"] != ("1" if request.offline and network else ""):
        asking = [hook.text for hook in hooks] if network else texts
        visible = {**visible, **references.visible_variables(asking, offline, frozenset())}
    return visible


def _element_of(hook: HookFile) -> str:
    """The element that a file came with, also where it is shown in its element's folder."""
    folder, _, rest = hook.path.partition("/")
    return rest.partition("/")[0] if folder == dib_runtime.ELEMENTS else hook.element


def _fetched(
    code: Sequence[str], files: Mapping[str, HookFile], sources: Sequence[SourceState]
) -> tuple[SourceState, ...]:
    """The source repositories of a script's files, where its code speaks of these: of all, or of one by its name."""
    words = frozenset().union(*map(references.words, code))
    every = dib_runtime.REPOSITORIES in words
    return tuple(state for state in sources if state.source.file in files and (every or state.source.file in words))
