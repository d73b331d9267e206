"""Checking the store: is all that is kept still what was kept; what is not is let go of, and made again when wanted."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from blockdev.core.typed_json import read
from stages.layers.finished_output import DONE, damage, damaged, read_done
from stages.layers.layer_digests import FOLDED, Damage, DamagedError, LayerDigests
from stages.layers.package_cache import verify_cache_files
from stages.layers.store import BASE, Record, Store
from stages.outputs.formats.gzip_blocks import is_whole
from stages.outputs.store import OutputStore

AGAIN = "it is let go of, and made again by the next build that wants it"


def let_go_of_damaged(store: Store, damages: Sequence[Damage]) -> list[str]:
    """Let go of layers that are not what was kept, and of all that was made on them. Returns a sentence for each.

    Their files stay until the next prune, for builds that use them now.
    """
    sentences = []
    bad = {damage.layer: damage for damage in damages}
    records = store.records()
    for layer, files in bad.items():
        title = next((record.title for record in records if record.layer == layer), "")
        name = f"the layer of {title}" if title else "a layer copied from many"
        sentences.append(f"{name}: {files}")
    for record in records:
        if bad.keys() & set(record.chain()):
            store.forget(record.key)
    for layer in bad:
        store.digests.forget(layer)
    for folder in (store.root / "layers").glob(f"{FOLDED}*"):
        store.digests.forget(folder.name)
        folder.rename(folder.with_name(secrets.token_hex(5)))
    return sentences


def verify(store: Store) -> tuple[list[str], int]:
    """What is wrong with the store, one sentence each (none: it is sound), and how many layers no record names.

    What is wrong is let go of. The latter are left by killed builds and by ``--no-cache``; they do no harm and go with
    the next prune.
    """
    wrong = []
    layers: list[str] = []
    for file in sorted((store.root / "keys").glob("*.json")):
        record = store.find(file.stem)
        if record is None:
            wrong.append(_unusable(store, file))
            continue
        layers += [record.layer] if record.layer else []
    there = {folder.name for folder in (store.root / "layers").iterdir()}
    folded = {name for name in there if name.startswith(FOLDED) and store.digests.has(name)}
    store.digests.finish()
    try:
        LayerDigests(store.root).require([*layers, *sorted(folded)])
    except DamagedError as error:
        wrong += [f"{sentence}; {AGAIN}" for sentence in let_go_of_damaged(store, error.damages)]
    wrong += _outputs(store)
    wrong += _blocks(store)
    wrong += verify_cache_files(store)
    in_records = {layer for record in store.records() for layer in record.chain()} | {BASE}
    return wrong, len({name for name in there if not name.startswith(FOLDED)} - in_records)


def _unusable(store: Store, file: Path) -> str:
    """Why a record does not count."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        read(Record, {name: value for name, value in data.items() if name != "sum"})
        why = "unsynced before a power loss, its layer or the digests of it are gone, or it is not what was written"
    except (OSError, ValueError, AttributeError):
        why = "it cannot be read"
    store.forget(file.stem)
    return f"the record {file.stem[:12]} is unusable ({why}); {AGAIN}"


def _outputs(store: Store) -> Iterator[str]:
    outputs = OutputStore(store)
    for folder in sorted((store.root / "outputs").iterdir()):
        with outputs.lock(folder.name):
            if not (folder / DONE).exists():
                continue  # it is being written
            if read_done(folder, any_boot=True) is None:
                paths = [DONE]
            else:
                done = read_done(folder)  # one of another boot does not count, and is written anew when it is wanted
                paths = damaged(folder, done) if done else []
            if paths:
                outputs.clear(folder.name)
                yield f"the output {folder.name[:12]}: {damage(paths)}; {AGAIN}"


def _blocks(store: Store) -> Iterator[str]:
    bad = [path for path in (store.root / "blocks").glob("*/*") if not path.name.startswith(".") and not is_whole(path)]
    for path in bad:
        path.unlink(missing_ok=True)
    if bad:
        yield f"{'1 compressed block differs' if len(bad) == 1 else f'{len(bad)} compressed blocks differ'}; {AGAIN}"
