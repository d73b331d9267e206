"""The properties of the synthetic RPM mirrors: each is observed by a test, and some distribution has it."""

from __future__ import annotations

from dataclasses import fields

from tests.integration.rpm_observations import OBSERVATIONS
from tests.integration.test_rpm_properties import ROWS
from tests.mirrors import rpmproperties
from tests.mirrors.rpmproperties import Properties


def test_each_property_is_observed() -> None:
    names = {field.name for field in fields(Properties)}
    assert OBSERVATIONS.keys() == names
    in_rows = {name for row in ROWS for name in rpmproperties.of(row.distribution, row.release).names()}
    assert in_rows == names
