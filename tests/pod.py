"""A Job's pod as podman runs it: ``python -m tests.pod MANIFESTS FOLDER``, as root.

For a machine without Kubernetes. Of the pod that ``dib-ctr k8s`` prints everything that bears on a build is taken over:
the user namespace of its own (``hostUsers: false``), the capabilities, what is unconfined and unmasked, no new
privileges, volumes, command, arguments and variables. What is left out are the cluster's own matters: the scheduler's
(resources, node selector), the service account, retries. Volumes are folders below FOLDER, named as in the pod.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from builder.engines.podman import Podman

# Ids that the pod's own 65536 stand for, as a kubelet gives them.
FIRST, IDS = 1000000000, 65536


def volumes(manifests: list[dict[str, Any]], pod: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The pod's volumes as folders, those of ConfigMaps filled; owned by the pod's root."""
    configs = {one["metadata"]["name"]: one for one in manifests if one["kind"] == "ConfigMap"}
    found = {}
    for volume in pod["volumes"]:
        place = folder / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        found[volume["name"]] = place
        if "configMap" in volume:
            config = configs[volume["configMap"]["name"]]
            for name, text in config["data"].items():
                (place / name).write_text(text)
            for name, text in config.get("binaryData", {}).items():
                (place / name).write_bytes(base64.b64decode(text))
        else:
            place.chmod(0o777)
            os.chown(place, FIRST, FIRST)
    return found


def command(pod: dict[str, Any], folders: dict[str, Path]) -> list[str]:
    """The options of ``podman run`` and what follows; what the pod has and is not known here is an error."""
    assert pod["hostUsers"] is False
    assert pod["securityContext"] == {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "Unconfined"}}
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert not context["privileged"]
    assert (context["procMount"], context["appArmorProfile"]) == ("Unmasked", {"type": "Unconfined"})
    words = ["--rm", "--network=host", "--user=0:0"]
    words += [f"--uidmap=0:{FIRST}:{IDS}", f"--gidmap=0:{FIRST}:{IDS}"]
    words += ["--security-opt=seccomp=unconfined", "--security-opt=unmask=ALL"]
    words += [] if context["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]
    words += [f"--cap-drop={name}" for name in context["capabilities"]["drop"]]
    words += [f"--cap-add={name}" for name in context["capabilities"]["add"]]
    words += [f"--env={one['name']}={one['value']}" for one in container["env"]]
    words += [f"--volume={folders[one['name']]}:{one['mountPath']}" for one in container["volumeMounts"]]
    program, *arguments = container["command"]
    return [*words, f"--entrypoint={program}", container["image"], *arguments, *container["args"]]


def main() -> int:
    """Run every Job's pod in turn; the first exit status that is not 0 ends it."""
    engine = Podman()
    engine.probe()
    manifests = list(yaml.safe_load_all(Path(sys.argv[1]).read_text()))
    for job in (one for one in manifests if one["kind"] == "Job"):
        pod = job["spec"]["template"]["spec"]
        words = command(pod, volumes(manifests, pod, Path(sys.argv[2]).absolute()))
        status = subprocess.run([*engine.client, "run", *engine.probe_result.run, *words], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
