"""Rows of the option table: what is shown, what is written, and what a disk is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.request.option_table.doors import DISK, HERE, PODS_SET, SHOWN, WRITTEN
from builder.request.option_table.option import Each, Form, Input, Key, Kind, No, Option, Reading
from stages.protocol.request import OUTPUT_TYPES

PROGRESS = ("auto", "live", "plain", "json", "quiet")


def _disk(name: str, flag: str, metavar: str, help: str, dib: str | No) -> Option:
    return Option(f"disk_{name}", (flag,), help, replace(DISK, dib=dib), field=f"disk.{name}", metavar=metavar)


LOG_OPTIONS: tuple[Option, ...] = (
    Option(
        "progress",
        ("--progress",),
        "What to show.",
        replace(SHOWN, dib="DIB_QUIET"),
        field="shown.progress",
        kind=Kind.CHOICE,
        choices=PROGRESS,
        default="auto",
        show_default=True,
    ),
    Option(
        "quiet",
        ("-q", "--quiet"),
        "Show the places of the outputs alone, one a line, and what went wrong.",
        SHOWN,
        field="shown.progress",
        kind=Kind.FLAG,
        value="quiet",
    ),
    Option(
        "log",
        ("--log",),
        "Write the full log here.",
        replace(SHOWN, beside_file=No("each image has a log of its own: --logs"), dib="--logfile"),
        field="shown.log",
        kind=Kind.FILE,
    ),
)

OUTPUT_OPTIONS: tuple[Option, ...] = (
    Option(
        "outputs",
        ("-o", "--output"),
        f"What to write (repeatable): {', '.join(OUTPUT_TYPES)}, files [default: oci].",
        replace(
            WRITTEN,
            images_file=Key(Form.OUTPUTS, "what to write", name="outputs"),
            dib="-t",
            action=Input(("output",), Each.LINE),
        ),
        multiple=True,
        metavar="TYPE[,KEY=VALUE]...",
    ),
    Option(
        "slim",
        ("--slim",),
        "What to leave out: a policy's name, or a YAML file [default: the distribution's own, for images].",
        replace(WRITTEN, images_file=Key(Form.TEXT, "a policy of what to leave out, or no", reading=Reading.OWN)),
        metavar="POLICY",
    ),
    Option(
        "no_slim",
        ("--no-slim",),
        "Leave everything in: documentation, locales, caches.",
        replace(WRITTEN, images_file=No("slim says it: no")),
        field="slim",
        kind=Kind.FLAG,
        value="no",
    ),
    Option(
        "no_documents",
        ("--no-documents",),
        "Write no SBOMs and no provenance beside images.",
        replace(
            WRITTEN,
            images_file=Key(
                Form.FLAG,
                "whether SBOMs and provenance are written",
                name="documents",
                reading=Reading.INVERTED,
            ),
        ),
        kind=Kind.FLAG,
    ),
    Option(
        "replace",
        ("--replace",),
        "Also replace files there that no build of yours wrote.",
        replace(WRITTEN, beside_file=HERE, dib=No("diskimage-builder never asks who wrote an image")),
        kind=Kind.FLAG,
    ),
    Option(
        "destination",
        ("--dest",),
        "The folder for outputs [default: here].",
        replace(
            WRITTEN,
            beside_file=HERE,
            images_file=Key(
                Form.TEXT, "the folder for outputs, below that of --dest", name="dest", reading=Reading.BELOW
            ),
            dib="-o",
            action=Input(("dest",), with_images=True),
            kubernetes=PODS_SET,
        ),
        kind=Kind.FOLDER,
        default=Path(),
    ),
)

DISK_OPTIONS: tuple[Option, ...] = (
    Option(
        "disk_privileged",
        ("--privileged",),
        "Allow a container with the host's root and loop devices, for a disk that needs one.",
        DISK,
        field="disk.privileged",
        kind=Kind.FLAG,
        value="yes",
    ),
    _disk(
        "image_size",
        "--image-size",
        "GIB",
        "The size of the disk, in GiB or with a unit [default: what the tree needs].",
        "--image-size",
    ),
    _disk(
        "extra_size",
        "--image-extra-size",
        "MIB",
        "The size is that of the tree and so much more, in MiB or with a unit.",
        "--image-extra-size",
    ),
    _disk(
        "root_label",
        "--root-label",
        "LABEL",
        "The label of the root file system [default: cloudimg-rootfs].",
        "--root-label",
    ),
    _disk("root_fs", "--root-fs", "TYPE", "The type of the root file system [default: ext4].", "FS_TYPE"),
    _disk("mkfs_options", "--mkfs-options", "TEXT", "Options for the root's mkfs, in one text.", "--mkfs-options"),
    _disk(
        "journal_size",
        "--mkfs-journal-size",
        "MIB",
        "The journal of an ext4 root, in MiB [default: 64].",
        "--mkfs-journal-size",
    ),
    _disk(
        "max_online_resize",
        "--max-online-resize",
        "BLOCKS",
        "Let the root file system grow to this many blocks while it is mounted.",
        "--max-online-resize",
    ),
    _disk(
        "configuration",
        "--block-device",
        "FILE",
        "The block-device configuration [env: DIB_BLOCK_DEVICE_CONFIG].",
        "DIB_BLOCK_DEVICE_CONFIG",
    ),
)
