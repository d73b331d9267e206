"""Changed code that a test should notice: ``python -m tests.mutants [WORD...]`` (``just mutants``), by cosmic-ray.

Each module that decides is changed in one place after another, in a copy of the checkout, and its unit tests run. What
no test noticed is printed. Words choose modules by parts of their names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A module that decides, and the unit tests that should notice.
MODULES = {
    "stages/plan/key.py": "stages/plan",
    "stages/plan/offline.py": "stages/plan",
    "stages/plan/plan.py": "stages/plan",
    "stages/element/references.py": "stages/plan stages/element builder/request/test_given.py",
    "stages/element/resolve.py": "stages/element",
    "stages/layers/store.py": "stages/layers",
    "stages/sandbox/system.py": "stages/sandbox",
    "blockdev/layout/plan.py": "blockdev/layout blockdev/configuration",
    "blockdev/layout/partitions.py": "blockdev/layout blockdev/configuration",
    "stages/protocol/request.py": "stages/plan builder/build builder/request",
    "stages/protocol/events.py": "stages/protocol",
    "blockdev/core/typed_json.py": "blockdev/core",
}
# In a type (``str | None``) another operator changes nothing that runs.
CONFIGURATION = """[cosmic-ray]
module-path = ["{module}"]
timeout = 120.0
excluded-modules = []
test-command = "{python} -m pytest -q -x -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""


def copy(folder: Path) -> None:
    """The checkout's files, to be changed."""
    names = os.fsdecode(subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout)
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def survivors(folder: Path, module: str, tests: str) -> str:
    """Change one module in the copy; what cosmic-ray reports of the changes that no test noticed."""
    paths = " ".join(f"tests/unit/{path}" for path in tests.split())
    configuration, session = folder / "mutants.toml", folder / "mutants.sqlite"
    configuration.write_text(CONFIGURATION.format(module=module, python=sys.executable, tests=paths))
    session.unlink(missing_ok=True)
    for command in (
        ("cosmic-ray", "init", configuration, session),
        ("cr-filter-operators", session, configuration),
        ("cosmic-ray", "baseline", configuration),
        ("cosmic-ray", "exec", configuration, session),
    ):
        subprocess.run(command, cwd=folder, check=True)
    report = ("cr-report", "--surviving-only", "--show-diff", session)
    return subprocess.run(report, cwd=folder, capture_output=True, text=True, check=True).stdout


def main(words: list[str]) -> int:
    """Print the survivors of each module that a word chooses; of all without one."""
    chosen = {module: tests for module, tests in MODULES.items() if not words or any(word in module for word in words)}
    with tempfile.TemporaryDirectory(prefix="dib-ctr-mutants-", dir="/var/tmp") as name:
        copy(Path(name))
        for module, tests in chosen.items():
            print(f"== {module}", survivors(Path(name), module, tests), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
