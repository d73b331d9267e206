"""A job's folder as ``python3 -m blockdev.privileged`` takes it, with its elements' scripts run on the disk, too."""

from __future__ import annotations

import sys
from functools import partial

from blockdev.privileged.__main__ import main
from stages.outputs.disk.scripts import run_on_disk

if __name__ == "__main__":
    sys.exit(main(scripts=partial(run_on_disk, repositories={"updates.metalink": "told\n"})))
