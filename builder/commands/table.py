"""The commands in one table: what each is for, where its code is, and what one types.

The code of a command is loaded when it is called; this table is enough to list them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Group(Enum):
    """What commands are for, in the order of the help."""

    BUILD = "Build"
    LOOK = "Look"
    RUN = "Run"
    SHARE = "Share"
    KEEP = "Keep"
    COMPATIBILITY = "As diskimage-builder"
    HIDDEN = ""


@dataclass(frozen=True)
class Row:
    """One command: its group, where it is (``module:name`` below ``builder.commands``), what it is for in few words.

    ``joined``: in the overview it stands on the line of the one before.
    """

    group: Group
    code: str
    about: str
    joined: bool = False


COMMANDS: Mapping[str, Row] = {
    "build": Row(Group.BUILD, "build:build", "build an image, or those of a file"),
    "plan": Row(Group.BUILD, "build:plan", "what a build would run, and why"),
    "init": Row(Group.BUILD, "init:init", "write a first project"),
    "verify": Row(Group.BUILD, "image:verify_image", "build an image again and compare", joined=True),
    "elements": Row(Group.LOOK, "elements:elements", "list, describe and check elements"),
    "size": Row(Group.LOOK, "image:image_size", "what an image is made of, or gained"),
    "disk": Row(Group.LOOK, "disk:disk", "a disk's partitions, file systems, boot"),
    "history": Row(Group.LOOK, "history:history", "what was built here"),
    "report": Row(Group.LOOK, "history:report", "open the last report", joined=True),
    "doctor": Row(Group.LOOK, "elements:doctor", "try each engine, and say what mends it"),
    "boot": Row(Group.RUN, "boot:boot", "start a machine from a disk image"),
    "shell": Row(Group.RUN, "build:shell", "a shell in the tree of a build"),
    "push": Row(Group.SHARE, "image:push_image", "push an image with its documents"),
    "matrix": Row(Group.SHARE, "spread:matrix", "a file's images for CI runners"),
    "k8s": Row(Group.SHARE, "spread:k8s", "as Kubernetes Jobs", joined=True),
    "cache": Row(Group.KEEP, "cache:cache", "what the store holds; prune, verify it"),
    "completion": Row(Group.KEEP, "completion:completion", "have the shell complete what one types"),
    **{
        name: Row(Group.COMPATIBILITY, f"dib:{name.replace('-', '_')}", "diskimage-builder's command of this name")
        for name in ("disk-image-create", "ramdisk-image-create", "diskimage-builder")
    },
    "launchers": Row(Group.COMPATIBILITY, "launchers:launchers", "write these commands under their own names"),
    "github-action": Row(Group.HIDDEN, "github:github_action", "what the GitHub Action runs"),
}

# What one types, by the command's whole name, each with what it does.
EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "dib-ctr": (
        ("dib-ctr build --output oci debian-minimal", "a slim image for containers"),
        ("dib-ctr build -o qcow2 debian-minimal vm", "a disk that boots"),
    ),
    "dib-ctr build": (
        ("dib-ctr build -o oci -p curl debian-minimal", "an image with one more package"),
        ("dib-ctr build -o qcow2 --release trixie debian-minimal vm openssh-server", "a disk with an SSH server"),
        ("dib-ctr build -o tar,compress=zstd --arch arm64 debian-minimal", "a tree for another architecture"),
        ("dib-ctr build debian-minimal ./elements/motd", "with an element of your own"),
        ("dib-ctr build -f images.yaml --keep-going", "all images of a file"),
        ("dib-ctr build --report report.html debian-minimal", "with a page that tells of it"),
    ),
    "dib-ctr init": (("dib-ctr init images", "an element, two images, a workflow"),),
    "dib-ctr plan": (
        ("dib-ctr plan debian-minimal", "which stages are in the cache"),
        ("dib-ctr plan -f images.yaml", "which stages images share"),
    ),
    "dib-ctr shell": (
        ("dib-ctr shell debian-minimal", "look around in the finished tree"),
        ("dib-ctr shell debian-minimal -- cat /etc/os-release", "run one command there"),
    ),
    "dib-ctr verify": (("dib-ctr verify debian-minimal.oci", "does a rebuild give the same bytes"),),
    "dib-ctr elements": (
        ("dib-ctr elements", "all there are"),
        ("dib-ctr elements cloud-init", "one, with its variables"),
        ("dib-ctr elements --check --elements-path elements", "what is wrong with your own"),
    ),
    "dib-ctr size": (
        ("dib-ctr size debian-minimal.oci", "by package and by directory"),
        ("dib-ctr size old.oci new.oci", "what changed"),
    ),
    "dib-ctr history": (
        ("dib-ctr history", "all builds, the newest first"),
        ("dib-ctr history debian-minimal", "those of one name"),
    ),
    "dib-ctr report": (("dib-ctr report", "in a browser, where there is one"),),
    "dib-ctr disk inspect": (("dib-ctr disk inspect debian-minimal.qcow2", "its partitions and how it boots"),),
    "dib-ctr disk plan": (("dib-ctr disk plan debian-minimal vm", "the layout there will be"),),
    "dib-ctr doctor": (
        ("dib-ctr doctor", "every engine"),
        ("dib-ctr doctor podman", "one of them"),
    ),
    "dib-ctr boot": (
        ("dib-ctr boot debian-minimal.qcow2", "does it come up"),
        ("dib-ctr boot --interactive debian-minimal.qcow2", "at this terminal"),
        ("dib-ctr boot --firmware uefi --ssh debian-minimal.qcow2", "by UEFI, until SSH answers"),
    ),
    "dib-ctr push": (("dib-ctr push debian-minimal.oci registry.example.com/base:1.0", "to a registry"),),
    "dib-ctr matrix": (("dib-ctr matrix -f images.yaml", "as a workflow's strategy takes it"),),
    "dib-ctr k8s": (("dib-ctr k8s -f images.yaml --image registry.example.com/dib-ctr:1", "Jobs, to apply"),),
    "dib-ctr cache du": (("dib-ctr cache du", "how much there is"),),
    "dib-ctr cache ls": (("dib-ctr cache ls", "a stage a line"),),
    "dib-ctr cache prune": (("dib-ctr cache prune --max-size 10G", "what was used last stays"),),
    "dib-ctr cache verify": (("dib-ctr cache verify", "is all of it still what was kept"),),
    "dib-ctr completion": (
        ("dib-ctr completion", "for the shell that SHELL names"),
        ("dib-ctr completion zsh --print", "for another, to put it where you like"),
    ),
    "dib-ctr diskimage-builder": (("dib-ctr diskimage-builder images.yaml", "a file as diskimage-builder reads it"),),
    "dib-ctr launchers": (("dib-ctr launchers ~/.local/bin", "then type disk-image-create"),),
}
