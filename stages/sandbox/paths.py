"""Where a stage's process finds things: the paths that scripts are given."""

from __future__ import annotations

# Outside: where tree, hooks, caches and the caller's folder are. With a dot, as in diskimage-builder: its scripts
# take what follows it for the name of the build.
BUILD_DIR = "/run/dib-ctr.build"
TARGET_ROOT = f"{BUILD_DIR}/mnt"
HOOKS_OUTSIDE = f"{BUILD_DIR}/hooks"
HOOKS_INSIDE = "/tmp/in_target.d"
SECRETS = "/dev/dib-ctr-given"  # files that a stage inside the tree is given for its time only
REPOSITORIES = "/dev/dib-ctr-repositories"  # metalinks of the state that the build takes packages from, by name
CACHES = f"{BUILD_DIR}/cache"  # the package caches of elements' caches.yaml, a folder each
IMAGE_CACHE = f"{BUILD_DIR}/image-cache"  # DIB_IMAGE_CACHE: the scripts' own
LOCKS = f"{IMAGE_CACHE}/lockfiles"  # DIB_LOCKFILES
IMAGE_DIR = f"{BUILD_DIR}/image"  # TMP_IMAGE_DIR
CALLER = f"{BUILD_DIR}/cwd"
# Where scripts outside leave files for later ones, beside the tree, and the mode of each: it is there for all of them.
KEPT_OUTSIDE = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, BUILD_DIR[1:]: 0o755}
BUILD_FOLDERS = ("mnt", "hooks", "cwd", "cache", "image", "image-cache")  # in BUILD_DIR
OF_SCRIPTS = "image-cache"  # how the name of the store's folder for it begins, below cache/
