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


def manifests(planned: Sequence[PlannedBuild], options: KubernetesOptions) -> dict[str, Manifest]:
    """The objects by the names of their files: a ConfigMap with the images files and own elements, a Job an image."""
    files = {"config.yaml": _config(planned, options)}
    for build in planned:
        job = _job(build, options, files["config.yaml"])
        name = f"job-{job['metadata']['labels']['app.kubernetes.io/instance']}.yaml"
        if name in files:
            other = files[name]["metadata"]["annotations"][f"{APP}/image"]
            what = f"the images {other} and {build.image.name} would be one Job"
            raise UsageError(what, hint="Kubernetes' names are in lower case: rename one")
        files[name] = job
    return files


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


def _labels(options: KubernetesOptions, **more: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": label(options.set_name), **more}


def _metadata(name: str, options: KubernetesOptions, **labels: str) -> Manifest:
    metadata: Manifest = {"name": name}
    if options.namespace:
        metadata["namespace"] = options.namespace
    return {**metadata, "labels": _labels(options, **labels)}


# -- files -----------------------------------------------------------------------------------------


def _config(planned: Sequence[PlannedBuild], options: KubernetesOptions) -> Manifest:
    data = {}
    for file in options.files:
        if file.name in data:
            raise UsageError(f"two images files have the name {file.name}", hint="give them names of their own")
        if file.suffix != ".yaml":
            raise UsageError(f"{file} is not called *.yaml", hint="rename it")
        data[file.name] = file.read_text(encoding="utf-8")
    archive = _archive(planned, options)
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(f"{APP}-{label(options.set_name)}", options),
        "data": data,
    }
    if archive:
        manifest["binaryData"] = {_ELEMENTS: base64.b64encode(archive).decode("ascii")}
    size = sum(len(text.encode()) for text in data.values()) + len(archive)
    if size > MOST_BYTES:
        raise UsageError(
            f"images files and elements take {size} bytes, and a ConfigMap holds {MOST_BYTES}",
            hint="put the elements into the container image (FROM the one of dib-ctr), and name them there",
        )
    return manifest


def _archive(planned: Sequence[PlannedBuild], options: KubernetesOptions) -> bytes:
    """The folders and files that images name beside their file, as a tar whose bytes hang on these alone."""
    folder = options.files[0].parent.absolute()
    inputs = sorted({path for build in planned for path in build.image.inputs})
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


def _job(build: PlannedBuild, options: KubernetesOptions, config: Manifest) -> Manifest:
    image = build.image
    if not (image.push or options.push or options.claim):
        raise UsageError(
            f"the image {image.name} would be gone with its pod",
            where=image.where,
            hint="--push HOST/NAME/ for a registry, or --claim NAME for a volume",
        )
    name = label(image.name)
    metadata = _metadata(f"{APP}-{name}", options, **{"app.kubernetes.io/instance": name})
    annotations = {f"{APP}/image": image.name, f"{APP}/files": _digest(config)}
    metadata["annotations"] = annotations
    labels = dict(metadata["labels"])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": image.retries.times,
            "ttlSecondsAfterFinished": 86400,
            "template": {
                "metadata": {"labels": labels, "annotations": dict(annotations)},
                "spec": _pod(build, options, config),
            },
        },
    }


def _digest(config: Manifest) -> str:
    text = repr((config["data"], config.get("binaryData")))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _volumes(options: KubernetesOptions, config: Manifest) -> list[tuple[Manifest, str]]:
    """The pod's volumes, each with the place where it is mounted."""
    claimed = {STORE: options.store, OUT: options.claim}
    volumes: list[tuple[Manifest, str]] = [
        ({"name": "files", "configMap": {"name": config["metadata"]["name"]}}, FILES),
        *(({"name": mount_point.strip("/"), "emptyDir": {}}, mount_point) for mount_point in (WORK, CACHE, "/tmp")),
    ]
    for mount_point, claim in claimed.items():
        source: Manifest = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
        volumes.append(({"name": mount_point.strip("/"), **source}, mount_point))
    if options.secret:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        volumes.append(({"name": "auth", "secret": {"secretName": options.secret, "items": items}}, AUTH))
    return volumes


def _pod(build: PlannedBuild, options: KubernetesOptions, config: Manifest) -> Manifest:
    volumes = _volumes(options, config)
    return {
        "restartPolicy": "Never",
        "hostUsers": False,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": _node(build)},
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "Unconfined"}},
        "containers": [
            {
                "name": "build",
                "image": options.image,
                "command": ["/bin/sh", "-ec", _UNPACK if config.get("binaryData") else _COPY, "build"],
                "args": _arguments(build.image, options),
                "env": _environment(options),
                "resources": _resources(build.image, options),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "privileged": False,
                    "procMount": "Unmasked",
                    "appArmorProfile": {"type": "Unconfined"},
                    "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": volume["name"], "mountPath": mount_point} for volume, mount_point in volumes],
            }
        ],
        "volumes": [volume for volume, _ in volumes],
    }


def _node(build: PlannedBuild) -> str:
    return runner_arch([request.request.arch for request in build.requests], RUNNERS)


def _environment(options: KubernetesOptions) -> list[Manifest]:
    variables = {"DIB_CTR_STORE": STORE, "XDG_CACHE_HOME": CACHE, "HOME": WORK, "CI": "true"}
    if options.secret:
        variables |= {"REGISTRY_AUTH_FILE": f"{AUTH}/config.json", "DOCKER_CONFIG": AUTH}
    return [{"name": name, "value": value} for name, value in variables.items()]


def _arguments(image: ImageBuild, options: KubernetesOptions) -> list[str]:
    words = ["build", *(word for file in options.files for word in ("-f", file.name))]
    words += ["--engine", "host", "--dest", OUT, "--logs", f"{OUT}/logs" if options.claim else f"{CACHE}/logs"]
    words += ["--push", options.push] if options.push else []
    if options.cache:
        cache = f"type=registry,ref={options.cache}"
        words += ["--cache-from", cache, "--cache-to", cache]
    return [*words, *options.options, "--", image.name]


def _resources(image: ImageBuild, options: KubernetesOptions) -> Manifest:
    requests = {"cpu": str(image.needs.cpus), "memory": f"{image.needs.memory}Mi"}
    if not options.store:
        requests["ephemeral-storage"] = options.disk
    return {"requests": requests}
