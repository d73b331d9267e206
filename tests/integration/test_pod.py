"""The engine `host` where it runs in a Kubernetes pod: as root of a user namespace that has 65536 ids and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from builder.engines.subordinate_ids import FIRST
from builder.engines.user_namespace import PYTHON, enter
from stages.sandbox.user_namespace import IDS

ROOT = Path(__file__).parents[2]
# The distribution's Python alone: what the engine itself takes of dib-ctr needs nothing more.
CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from builder.engines.host import Host
from builder.engines.protocol import Container
from builder.engines.subordinate_ids import root_range
engine = Host()
engine.probe()  # a container that mounts an overlay on the store
said = []
told = "read -r length; id -u; cat /proc/self/uid_map; stat -c %u /proc/1/root/" + engine.store
status = engine.run(Container("", ("/bin/sh", "-c", told)), b"", lambda line, _: said.append(line.split()))
print(status, root_range(), said)
"""


def test_a_build_gets_all_ids_of_the_pod_but_its_roots(place: Path) -> None:
    code = place / "code"
    for name in ("builder", "stages", "qemu", "blockdev", "containerfiles"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    options: dict[str, Any] = {"network": True}
    if os.getuid() == 0:
        options["range"] = [FIRST, IDS]
        os.chown(place, FIRST, FIRST)
    done = subprocess.run(
        enter((PYTHON, "-c", CODE, str(code)), **options),
        env={"PATH": os.environ["PATH"], "DIB_CTR_STORE": str(place / "store"), "XDG_CACHE_HOME": str(place / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    inside = [["0"], ["0", "1", str(IDS - 1)], ["0"]]  # root, who is number 1 of the pod's, and owns the store
    assert done.stdout.strip() == f"0 (1, {IDS - 1}) {inside}"
