"""Keys of a build without a network: what a networked stage makes then is no answer to a build that has one.

A layer that was made with a network serves a build without one. From the first networked stage that has no such layer,
stages run with the network cut, and their keys say so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stages.plan.key import key_of
from stages.plan.plan import Plan

CUT = "cut"  # in the place of "yes"


def offline_plan(plan: Plan, hits: Sequence[bool]) -> Plan:
    """The plan as an offline build runs it; ``hits`` tells of each stage whether its layer is there already."""
    stages = list(plan.stages)
    first = next((index for index, stage in enumerate(stages) if stage.network and not hits[index]), len(stages))
    for index in range(first, len(stages)):
        stage = stages[index]
        network = CUT if stage.network else stage.inputs["network"]
        inputs = {**stage.inputs, "network": network, "below": stages[index - 1].key if index else ""}
        stages[index] = dataclasses.replace(stage, inputs=inputs, key=key_of(inputs))
    return dataclasses.replace(plan, stages=tuple(stages))
