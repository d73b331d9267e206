"""Images as Kubernetes Jobs: an unprivileged pod for each, in a user namespace of its own (``hostUsers: false``).

The pod's root is nobody on the node. It opens one more user namespace for the build, and mounts there: for that the
node's filters of system calls and AppArmor's profile stand aside, and /proc is not masked, which Kubernetes allows in
such pods alone (kubernetes.io, "User Namespaces", "Pod Security Standards"). Fields are those of Kubernetes 1.33.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.fleet.ci_matrix import RUNNERS, runner_arch
from builder.fleet.image import ImageBuild, PlannedBuild

Manifest = dict[str, Any]

MOST_BYTES = 1_000_000  # of a ConfigMap with all its keys: a mebibyte, less what describes it
APP = "dib-ctr"
# What root of the pod needs over the pod's own user namespace: to map ids, and to give the store to the build's root.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
WORK, FILES, STORE, OUT, CACHE, AUTH = "/work", "/files", "/store", "/out", "/cache", "/auth"
_ELEMENTS = "elements.tar.gz"
_UNPACK = f'tar -xzf {FILES}/{_ELEMENTS} -C {WORK} && cp {FILES}/*.yaml {WORK}/ && cd {WORK} && exec dib-ctr "$@"'
_COPY = f'cp {FILES}/*.yaml {WORK}/ && cd {WORK} && exec dib-ctr "$@"'


@dataclass(frozen=True)
class KubernetesOptions:
    """What is asked of the manifests: the container image of dib-ctr, where results go, and what pods get.

    ``push`` is the HOST/NAME/ below which images are pushed, ``claim`` and ``store`` name volume claims (for outputs,
    for the store), ``secret`` the credentials for registries, ``cache`` a HOST/NAME:TAG that keeps layers, ``disk`` the
    room for a store without a claim; ``options`` are more words for ``dib-ctr build``.
    """

    image: str
    files: tuple[Path, ...]
    set_name: str = "images"
    namespace: str = ""
    push: str = ""
    claim: str = ""
    store: str = ""
    secret: str = ""
    disk: str = "20Gi"
    cache: str = ""
    options: tuple[str, ...] = ()


def manifests(planned: Sequence[PlannedBuild], wanted: KubernetesOptions) -> dict[str, Manifest]:
    """The objects by the names of their files: a ConfigMap with the images files and own elements, a Job an image."""
    found = {"config.yaml": _config(planned, wanted)}
    for one in planned:
        job = _job(one, wanted, found["config.yaml"])
        name = f"job-{job['metadata']['labels']['app.kubernetes.io/instance']}.yaml"
        if name in found:
            other = found[name]["metadata"]["annotations"][f"{APP}/image"]
            what = f"the images {other} and {one.image.name} would be one Job"
            raise UsageError(what, hint="Kubernetes' names are in lower case: rename one")
        found[name] = job
    return found


def kustomization(names: Sequence[str]) -> Manifest:
    """The kustomization.yaml over these files."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(names),
    }


def label(text: str) -> str:
    """A name as labels and objects may have it (RFC 1123): lower case, at most 40 characters, cut ones told apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(plain) > 40:
        plain = f"{plain[:31].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return plain


def _labels(wanted: KubernetesOptions, **more: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": label(wanted.set_name), **more}


def _metadata(name: str, wanted: KubernetesOptions, **labels: str) -> Manifest:
    found: Manifest = {"name": name}
    if wanted.namespace:
        found["namespace"] = wanted.namespace
    return {**found, "labels": _labels(wanted, **labels)}


# -- files -----------------------------------------------------------------------------------------


def _config(planned: Sequence[PlannedBuild], wanted: KubernetesOptions) -> Manifest:
    data = {}
    for file in wanted.files:
        if file.name in data:
            raise UsageError(f"two images files have the name {file.name}", hint="give them names of their own")
        if file.suffix != ".yaml":
            raise UsageError(f"{file} is not called *.yaml", hint="rename it")
        data[file.name] = file.read_text(encoding="utf-8")
    archive = _archive(planned, wanted)
    found: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(f"{APP}-{label(wanted.set_name)}", wanted),
        "data": data,
    }
    if archive:
        found["binaryData"] = {_ELEMENTS: base64.b64encode(archive).decode("ascii")}
    size = sum(len(text.encode()) for text in data.values()) + len(archive)
    if size > MOST_BYTES:
        raise UsageError(
            f"images files and elements take {size} bytes, and a ConfigMap holds {MOST_BYTES}",
            hint="put the elements into the container image (FROM the one of dib-ctr), and name them there",
        )
    return found


def _archive(planned: Sequence[PlannedBuild], wanted: KubernetesOptions) -> bytes:
    """The folders and files that images name beside their file, as a tar whose bytes hang on these alone."""
    folder = wanted.files[0].parent.absolute()
    inputs = sorted({path for one in planned for path in one.image.inputs})
    if not inputs:
        return b""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in inputs:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"{path} does not lie below {folder}",
                    hint="put what images need beside their file: it goes along to the cluster",
                )
            for file in sorted([path, *path.rglob("*")]):
                archive.add(file, str(file.relative_to(folder)), recursive=False, filter=_plain)
    return gzip.compress(plain.getvalue(), mtime=0)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    return entry


# -- jobs ------------------------------------------------------------------------------------------


def _job(one: PlannedBuild, wanted: KubernetesOptions, config: Manifest) -> Manifest:
    image = one.image
    if not (image.push or wanted.push or wanted.claim):
        raise UsageError(
            f"the image {image.name} would be gone with its pod",
            where=image.where,
            hint="--push HOST/NAME/ for a registry, or --claim NAME for a volume",
        )
    name = label(image.name)
    metadata = _metadata(f"{APP}-{name}", wanted, **{"app.kubernetes.io/instance": name})
    told = {f"{APP}/image": image.name, f"{APP}/files": _digest(config)}
    metadata["annotations"] = told
    labels = dict(metadata["labels"])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": image.retries.times,
            "ttlSecondsAfterFinished": 86400,
            "template": {"metadata": {"labels": labels, "annotations": dict(told)}, "spec": _pod(one, wanted, config)},
        },
    }


def _digest(config: Manifest) -> str:
    text = repr((config["data"], config.get("binaryData")))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _volumes(wanted: KubernetesOptions, config: Manifest) -> list[tuple[Manifest, str]]:
    """The pod's volumes, each with the place where it is mounted."""
    claimed = {STORE: wanted.store, OUT: wanted.claim}
    found: list[tuple[Manifest, str]] = [
        ({"name": "files", "configMap": {"name": config["metadata"]["name"]}}, FILES),
        *(({"name": place.strip("/"), "emptyDir": {}}, place) for place in (WORK, CACHE, "/tmp")),
    ]
    for place, claim in claimed.items():
        source: Manifest = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
        found.append(({"name": place.strip("/"), **source}, place))
    if wanted.secret:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        found.append(({"name": "auth", "secret": {"secretName": wanted.secret, "items": items}}, AUTH))
    return found


def _pod(one: PlannedBuild, wanted: KubernetesOptions, config: Manifest) -> Manifest:
    volumes = _volumes(wanted, config)
    return {
        "restartPolicy": "Never",
        "hostUsers": False,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": _node(one)},
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "Unconfined"}},
        "containers": [
            {
                "name": "build",
                "image": wanted.image,
                "command": ["/bin/sh", "-ec", _UNPACK if config.get("binaryData") else _COPY, "build"],
                "args": _arguments(one.image, wanted),
                "env": _environment(wanted),
                "resources": _resources(one.image, wanted),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "privileged": False,
                    "procMount": "Unmasked",
                    "appArmorProfile": {"type": "Unconfined"},
                    "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": volume["name"], "mountPath": place} for volume, place in volumes],
            }
        ],
        "volumes": [volume for volume, _ in volumes],
    }


def _node(one: PlannedBuild) -> str:
    return runner_arch([request.request.arch for request in one.requests], RUNNERS)


def _environment(wanted: KubernetesOptions) -> list[Manifest]:
    found = {"DIB_CTR_STORE": STORE, "XDG_CACHE_HOME": CACHE, "HOME": WORK, "CI": "true"}
    if wanted.secret:
        found |= {"REGISTRY_AUTH_FILE": f"{AUTH}/config.json", "DOCKER_CONFIG": AUTH}
    return [{"name": name, "value": value} for name, value in found.items()]


def _arguments(image: ImageBuild, wanted: KubernetesOptions) -> list[str]:
    words = ["build", *(word for file in wanted.files for word in ("-f", file.name))]
    words += ["--engine", "host", "--dest", OUT, "--logs", f"{OUT}/logs" if wanted.claim else f"{CACHE}/logs"]
    words += ["--push", wanted.push] if wanted.push else []
    if wanted.cache:
        place = f"type=registry,ref={wanted.cache}"
        words += ["--cache-from", place, "--cache-to", place]
    return [*words, *wanted.options, "--", image.name]


def _resources(image: ImageBuild, wanted: KubernetesOptions) -> Manifest:
    requests = {"cpu": str(image.needs.cpus), "memory": f"{image.needs.memory}Mi"}
    if not wanted.store:
        requests["ephemeral-storage"] = wanted.disk
    return {"requests": requests}
