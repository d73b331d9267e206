"""The environment of a stage's script."""

from __future__ import annotations

from stages.element import dib_runtime
from stages.element.environment import SERVICES
from stages.plan.plan import Plan, Stage
from stages.sandbox.paths import (
    BUILD_DIR,
    CACHES,
    HOOKS_INSIDE,
    HOOKS_OUTSIDE,
    IMAGE_CACHE,
    IMAGE_DIR,
    LOCKS,
    TARGET_ROOT,
)

# Where things are, for every script and for environment.d.
PLACES = {
    "TMP_MOUNT_PATH": TARGET_ROOT,
    "TMP_BUILD_DIR": BUILD_DIR,
    "TMP_IMAGE_DIR": IMAGE_DIR,
    "DIB_IMAGE_CACHE": IMAGE_CACHE,
    "DIB_LOCKFILES": LOCKS,
}


def stage_environment(stage: Stage, plan: Plan) -> dict[str, str]:
    """Everything in the environment of a stage's script: the variables it names and where things are."""
    services = {name: value for name, value in plan.environment.items() if name in SERVICES and stage.network}
    hooks = HOOKS_INSIDE if stage.phase.inside else HOOKS_OUTSIDE
    where = dib_runtime.places(hooks, inside=stage.phase.inside)
    where.update(PLACES)
    if not stage.phase.inside:
        where.update(TARGET_ROOT=TARGET_ROOT, DIB_CTR_CACHE=CACHES)
    return {"DIB_OFFLINE": "", **stage.environment, **services, **where}
