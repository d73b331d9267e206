"""What cloud-init is told of its data's places, in a namespace whose /etc is a folder of the test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN

(SCRIPT,) = (BUILTIN / "cloud-init-datasources/install.d").iterdir()
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def written(etc: Path, sources: str) -> dict[str, str]:
    """The files that are there for this list of places, by name."""
    if subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("no user namespace here")
    subprocess.run(
        [*NAMESPACE, "sh", "-c", f"mount --bind {etc} /etc && exec {SCRIPT}"],
        env={"PATH": os.environ["PATH"], "DIB_CLOUD_INIT_DATASOURCES": sources},
        check=True,
    )
    return {file.name: file.read_text() for file in (etc / "cloud/cloud.cfg.d").iterdir()}


LIST = "91-dib-cloud-init-datasources.cfg"


@pytest.mark.parametrize(
    ("sources", "listed"),
    [
        ("OpenStack", "OpenStack, None"),
        ("NoCloud, OpenStack", "NoCloud, OpenStack, None"),
        ("OpenStack, None", "OpenStack, None"),
        ("OpenStack,None", "OpenStack,None"),
        ("None", "None"),
        ("NotNone", "NotNone, None"),
    ],
)
def test_the_list_ends_with_none(tmp_path: Path, sources: str, listed: str) -> None:
    assert written(tmp_path, sources) == {LIST: f"datasource_list: [ {listed} ]\n"}


def test_ec2_and_config_drive_have_settings_of_their_own(tmp_path: Path) -> None:
    files = written(tmp_path, "Ec2, ConfigDrive")
    assert sorted(files) == [
        LIST,
        "92-ec2-datasource.cfg",
        "93-dib-cloud-init-disable-datasource-network-activation.cfg",
    ]
    assert files["92-ec2-datasource.cfg"] == "#cloud-config\ndatasource:\n  Ec2:\n    strict_id: false\n"
    assert files["93-dib-cloud-init-disable-datasource-network-activation.cfg"] == "disable_network_activation: true\n"
