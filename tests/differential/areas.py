"""All areas of the comparison."""

from __future__ import annotations

from tests.differential import commands, disks, elements, environment, images, packages

AREAS = {module.AREA.name: module.AREA for module in (elements, packages, disks, images, environment, commands)}
