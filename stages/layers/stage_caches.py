"""Which caches the stages of one build see, and what is kept of what they leave there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from blockdev.core.open_beneath import open_folder
from stages.element.cache_rules import CacheRule, holds_packages
from stages.layers import package_cache, source_cache
from stages.layers.cache_writers import writers
from stages.layers.fetched_lists import FetchedPlaces
from stages.layers.listed_packages import ListedPackages, SavedPlaces
from stages.layers.package_cache import CacheView, ListsState, PackageCaches
from stages.layers.package_lists import SavedLists
from stages.layers.stage_output import Lines
from stages.layers.store import Store, Workplace
from stages.plan.plan import Plan, Stage
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.request import Request
from stages.redaction.keyed import KeyDigests
from stages.repositories.download import Patience
from stages.sandbox import persistent_mounts
from stages.sandbox.paths import LOCKS, OF_SCRIPTS
from stages.sandbox.view import Cache, View

LATE = ("pre-finalise", "finalise", "cleanup")  # phases before which diskimage-builder has unmounted the tree


@dataclass
class StageCaches:
    """The caches of one build.

    ``rules`` are those of its elements, ``lists`` what a locked build gives its stages, ``locked`` the packages that
    its lock names, as lists have them.
    """

    request: Request
    plan: Plan
    store: Store
    rules: tuple[CacheRule, ...]
    lists: Mapping[str, Path]
    locked: frozenset[bytes]
    digests: KeyDigests
    _writers: dict[str, str] = field(default_factory=dict)
    _caught_up: bool = False

    # -- packages --------------------------------------------------------------------------------------------------

    @contextmanager
    def views(self, stage: Stage, merged: Path, workplace: Workplace, scratch: Path) -> Iterator[tuple[CacheView, ...]]:
        """The package caches that a stage sees, mounted below ``scratch`` while this lasts."""
        rules = self.rules if stage.packages else ()
        places = {rule.path.strip("/") for rule in rules}
        if package_cache.APT_ARCHIVES in {mount.place for mount in mounts_of(stage, merged)} - places:
            rules = (*rules, package_cache.APT_RULE)
        if not rules:
            yield ()
            return
        if stage.network and not self.request.offline:
            self._catch_up(rules, workplace)
        with self._packages.views(rules, workplace, scratch) as views:
            package_cache.add_lists(views, self.lists)
            yield views

    def _catch_up(self, rules: Sequence[CacheRule], workplace: Workplace) -> None:
        """Where a mirror has moved since the packages in these caches came: learn which of them it still lists."""
        kept = (
            package_cache.shared(self.store, rule.name, self.request.arch) for rule in rules if holds_packages(rule)
        )
        listed = self._packages.listed
        if not self._caught_up and listed.moved() and any(folder.is_dir() for folder in kept):
            folder = workplace.path / "lists"
            folder.mkdir()
            listed.learn_moved(FetchedPlaces(folder, Patience.of(self.plan.environment)))
        self._caught_up = True

    def keep(self, stage: Stage, views: Sequence[CacheView], tree: Path) -> None:
        """Keep what a stage that succeeded has added, once all its processes are gone."""
        if views:
            self._packages.keep(views, tree)
        if stage.sources:
            source_cache.remember(self.image_cache(), stage.sources)

    @cached_property
    def _packages(self) -> PackageCaches:
        """Lists hang on the repositories' state, and on the keys that stages which install are given."""
        paths = {path for stage in self.plan.stages if stage.packages for path in stage.given}
        digests_of_keys = {self.digests.of_given(path, self.request.given[path]) for path in paths}
        state = ListsState.of(self.plan.repositories, self.request.image, *digests_of_keys)
        listed = ListedPackages(self.store, self.plan.repositories, self.locked)
        if self.lists:
            listed.learn(SavedPlaces(SavedLists(self.store)))
        names = writers(self.plan.stages, lambda stage: stage.packages)
        return PackageCaches(self.store, self.rules, self.request.arch, state, listed, names)

    # -- the scripts' own ------------------------------------------------------------------------------------------

    def kept_mounts(self, stage: Stage, merged: Path) -> Iterator[Cache]:
        """What an earlier script bound over places in the tree: folders of the scripts' own cache, and of the layers.

        In the first phases, what later stages leave in a folder of the cache is not what scripts outside find: others
        may write there. apt's packages are not among them: every stage has its own view of these.
        """
        for mount in mounts_of(stage, merged):
            if mount.source.startswith(persistent_mounts.OF_LAYER):
                if kept_folder := persistent_mounts.in_layers(merged, mount.source):
                    yield Cache("", kept_folder, mount.place, loose=True)
            elif mount.place != package_cache.APT_ARCHIVES:
                folder = self.image_cache() if stage.phase.name in LATE else self._early_mounts()
                source = mount.source.lstrip("/")
                try:  # scripts write in this folder: a link that they make there leads nowhere
                    os.close(open_folder(folder, source, make=True))
                except OSError:
                    text = f"{stage.title} does not see what was mounted on /{mount.place}: it is no folder any more"
                    emit(events.Note(text=text.encode("utf-8", "replace").decode()))
                else:
                    yield Cache("", folder / source, mount.place, loose=True, top=folder)

    def keep_mounts(self, stage: Stage, view: View, mountinfo: bytes, layer: Path, lines: Lines) -> None:
        """Write down in the layer what a stage outside has left mounted in its tree, or has taken away."""
        shown = mounts_of(stage, view.tree.parent)
        left = persistent_mounts.left_mounts(mountinfo, {cache.path.strip("/") for cache in view.caches})
        persistent_mounts.write(left, shown, layer, mounts_folder(stage))
        for mount_point, kind in sorted(left.other.items()):
            lines.remark(
                f"{kind} is mounted on /{mount_point} of the tree: that ends with this script, no later one sees it"
            )

    def _early_mounts(self) -> Path:
        return self._folder(f"{OF_SCRIPTS}-mounts", lambda stage: stage.phase.name not in LATE)

    def image_cache(self) -> Path:
        """The scripts' own cache (DIB_IMAGE_CACHE), which outlives builds; they lock in it themselves.

        Where a script of pre-finalise may bind from it, all scripts of the last phases may write there.
        """
        late = any(stage.image_cache and stage.phase.name in LATE for stage in self.plan.stages)
        folder = self._folder(OF_SCRIPTS, lambda stage: stage.image_cache or (late and stage.phase.name in LATE))
        (folder / Path(LOCKS).name).mkdir(exist_ok=True)
        return folder

    @contextmanager
    def fetching(self, stage: Stage) -> Iterator[None]:
        """While a stage fetches source repositories: no other does (their scripts share files without locking)."""
        if not stage.sources:
            yield
            return
        with self.store.lock(f"sources-{self.request.arch}"):
            source_cache.let_go(self.image_cache(), stage.sources, offline=self.request.offline)
            yield

    def _folder(self, name: str, sees: Callable[[Stage], bool]) -> Path:
        """The folder of a cache that no list vouches for: builds share it where the same scripts may write there."""
        if name not in self._writers:
            self._writers[name] = writers(self.plan.stages, sees)
        folder = package_cache.shared(self.store, name, self.request.arch) / self._writers[name]
        self.store.pin(folder.relative_to(self.store.root).as_posix())
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # the last use, for prune
        return folder


def mounts_folder(stage: Stage) -> str:
    """In which folder of a layer the mounts are written down that a stage sees."""
    return persistent_mounts.LATE if stage.phase.name in LATE else persistent_mounts.EARLY


def mounts_of(stage: Stage, merged: Path) -> list[persistent_mounts.KeptMount]:
    """The mounts in the tree that a stage sees, as earlier ones left them."""
    return persistent_mounts.read(merged, mounts_folder(stage))
