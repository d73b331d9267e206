"""Media types of images, those of the OCI's image specification and docker's older ones for the same; an annotation."""

from __future__ import annotations

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"  # {}
LAYERS = "application/vnd.oci.image.layer."  # how all of them begin
LAYER = f"{LAYERS}v1.tar"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYERS = "application/vnd.docker.image.rootfs."

INDEXES = (INDEX, DOCKER_LIST)
CONFIGS = (CONFIG, DOCKER_CONFIG)

REF_NAME = "org.opencontainers.image.ref.name"  # an annotation: the name of an entry in its layout
