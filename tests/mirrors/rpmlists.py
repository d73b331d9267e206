"""The lists of a synthetic RPM repository: what createrepo_c writes, compressed as the real ones are, and signed."""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
from pathlib import Path

from tests.mirrors.keys import Key
from tests.mirrors.rpmproperties import NONE, Properties


def write(repository: Path, epoch: int, key: Key, properties: Properties = NONE, modules: str = "") -> None:
    """Write a repository's lists, and sign them as openSUSE does (``repomd.xml.asc``, ``repomd.xml.key``).

    ``epoch`` is their time in seconds, ``modules`` a description of modules. Raises CalledProcessError.
    """
    _run("createrepo_c", "--quiet", "--revision", str(epoch), "--set-timestamp-to-revision", str(repository))
    folder = repository / "repodata"
    if modules:
        described = repository / "modules.yaml"
        described.write_text(modules)
        _run("modifyrepo_c", "--mdtype=modules", str(described), str(folder))
        described.unlink()
    file = folder / "repomd.xml"
    text = file.read_text()
    if properties.zstd_lists:
        for path in sorted(folder.glob("*.xml.gz")):
            text = _by_zstd(path, text)
    if modules:
        text = re.sub(r"<timestamp>\d+</timestamp>", f"<timestamp>{epoch}</timestamp>", text)
    file.write_text(text)
    key.sign(file, file.with_name("repomd.xml.asc"))
    file.with_name("repomd.xml.key").write_bytes(key.public())


def _by_zstd(path: Path, text: str) -> str:
    """Compress a list by zstd in place of gzip; what ``repomd.xml`` says from then on."""
    before = path.read_bytes()
    content = gzip.decompress(before)
    packed = subprocess.run(["zstd", "-q", "-c"], input=content, check=True, capture_output=True).stdout
    earlier, digest = hashlib.sha256(before).hexdigest(), hashlib.sha256(packed).hexdigest()
    kind = path.name.partition("-")[2].removesuffix(".gz")
    path.with_name(f"{digest}-{kind}.zst").write_bytes(packed)
    path.unlink()
    text = text.replace(f"repodata/{path.name}", f"repodata/{digest}-{kind}.zst").replace(earlier, digest)
    return text.replace(f"<size>{len(before)}</size>", f"<size>{len(packed)}</size>")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        message = f"{command[0]} failed:\n{done.stderr[-3000:]}"
        raise RuntimeError(message)
