"""Rows of the option table: caches, locks, registries, boot tests, breaks, and builds of many images."""

from __future__ import annotations

from dataclasses import replace

from builder.request.option_table.doors import BREAK, BUILD, HERE, IMAGE, MANY, PLAN, PUSH, SHELL
from builder.request.option_table.option import Each, Form, Input, Key, Kind, No, Option, Reading

CACHE_EXAMPLE = "type=registry,ref=HOST/NAME:TAG or type=dir,path=DIR or type=gha"
FIRMWARE = ("bios", "uefi", "both")

CACHE_OPTIONS: tuple[Option, ...] = (
    Option(
        "cache_from",
        ("--cache-from",),
        f"Take layers from a cache before running a stage (repeatable, asked in order): {CACHE_EXAMPLE}.",
        replace(
            IMAGE,
            beside_file=HERE,
            images_file=Key(Form.TEXTS, "caches to read layers from"),
            action=Input(("cache", "cache_from"), Each.LINE, with_images=True),
            kubernetes="--cache",
            hint=15,
        ),
        multiple=True,
        metavar="SPEC",
    ),
    Option(
        "cache_to",
        ("--cache-to",),
        f"Send the layers of the build to a cache (repeatable): {CACHE_EXAMPLE}.",
        replace(
            PUSH,
            images_file=Key(Form.TEXTS, "caches to write layers to"),
            action=Input(("cache_to", "cache"), Each.LINE, with_images=True),
            kubernetes="--cache",
        ),
        multiple=True,
        metavar="SPEC",
    ),
)

LOCK_OPTIONS: tuple[Option, ...] = (
    Option(
        "lock",
        ("--lock",),
        "Write what was used: repositories, packages with checksums, build image.",
        replace(
            BUILD,
            images_file=Key(Form.TEXT, "write a lock to this file, below the folder of --dest", reading=Reading.BELOW),
        ),
        field="locks.lock",
        kind=Kind.PATH,
        metavar="FILE",
    ),
    Option(
        "vendor",
        ("--vendor",),
        "Write the lock to DIR/lock.json, and beside it all packages and lists that --locked needs.",
        BUILD,
        field="locks.vendor",
        kind=Kind.PATH,
        metavar="DIR",
    ),
)

PUSH_OPTIONS: tuple[Option, ...] = (
    Option(
        "insecure",
        ("--insecure",),
        "Push without TLS, or to a certificate nobody vouches for.",
        replace(PUSH, kubernetes="--insecure"),
        field="push.insecure",
        kind=Kind.FLAG,
    ),
    Option(
        "authfile",
        ("--authfile",),
        "Credentials [default: the engines' own].",
        replace(PUSH, kubernetes=No("pods have a secret: --secret")),
        field="push.authfile",
        kind=Kind.OWN_FILE,
    ),
    Option("sign", ("--sign",), "Sign what was pushed, with cosign.", PUSH, field="push.sign", kind=Kind.FLAG),
    Option(
        "sign_key",
        ("--sign-key",),
        "A key for --sign: a file, or what cosign takes.",
        PUSH,
        field="push.sign_key",
        metavar="KEY",
    ),
)

AFTER_OPTIONS: tuple[Option, ...] = (
    Option(
        "reference",
        ("--push",),
        "Push the image to this registry.",
        replace(
            PUSH,
            images_file=Key(Form.TEXT, "a registry's HOST/NAME:TAG to push to", name="push"),
            action=Input(("push",), with_images=True),
            kubernetes="--push",
        ),
        field="push.reference",
        metavar="HOST/NAME:TAG",
    ),
    Option(
        "load",
        ("--load",),
        "Put the image into the engine's own images as well.",
        replace(BUILD, images_file=Key(Form.FLAG, "put the image into the engine's own images, too"), dib="-t docker"),
        kind=Kind.FLAG,
    ),
    Option(
        "firmware",
        ("--firmware",),
        "What --boot-test starts it with [default: what the disk is made for].",
        replace(BUILD, images_file=No("boot-test says it: bios, uefi or both"), action=Input(("firmware",))),
        kind=Kind.CHOICE,
        choices=FIRMWARE,
    ),
    Option(
        "boot_test",
        ("--boot-test",),
        "Start a machine from the disk image and wait for its login prompt.",
        replace(
            BUILD,
            images_file=Key(
                Form.TEXT,
                "start a machine from the disk image",
                choices=("true", "false", *FIRMWARE),
                reading=Reading.OWN,
            ),
            action=Input(("boot_test",), Each.TRUTH),
        ),
        kind=Kind.FLAG,
    ),
)

BREAK_OPTIONS: tuple[Option, ...] = (
    Option(
        "breaks",
        ("--break",),
        "Open a shell at before:STAGE, after:STAGE, before-PHASE, after-PHASE or error.",
        replace(BREAK, dib="break"),
        multiple=True,
        metavar="POINT",
    ),
    Option(
        "break_command",
        ("--break-command",),
        "Run this there in place of a shell.",
        replace(BREAK, dib="break_cmd"),
        metavar="COMMAND",
    ),
    Option(
        "break_outside",
        ("--break-outside",),
        "At an error be outside the tree, which TMP_MOUNT_PATH leads to.",
        replace(BREAK, dib="break_outside_target"),
        kind=Kind.FLAG,
    ),
)

MANY_OPTIONS: tuple[Option, ...] = (
    Option(
        "jobs",
        ("--jobs",),
        "-f: how many images at a time [default: processors, memory].",
        replace(MANY, dib="--jobs of diskimage-builder"),
        kind=Kind.NUMBER,
        only_beside_file=True,
    ),
    Option(
        "keep_going",
        ("--keep-going",),
        "-f: begin further images after one has failed.",
        replace(MANY, dib="--stop-on-failure of diskimage-builder"),
        kind=Kind.FLAG,
        only_beside_file=True,
    ),
    Option(
        "report",
        ("--report",),
        "Write a report (repeatable): a page where FILE ends in .html, JSON elsewhere.",
        replace(MANY, action=No("the action writes one of its own, which is its output")),
        field="shown.report",
        kind=Kind.FILE,
        multiple=True,
        metavar="FILE",
    ),
    Option(
        "junit", ("--junit",), "Write a JUnit report here.", MANY, field="shown.junit", kind=Kind.FILE, metavar="FILE"
    ),
    Option(
        "logs",
        ("--logs",),
        "-f: the folder for the logs.",
        MANY,
        field="shown.logs",
        kind=Kind.FOLDER,
        only_beside_file=True,
    ),
    Option(
        "whole",
        ("--stages",),
        "-f: a line for every stage.",
        PLAN,
        field="shown.whole",
        kind=Kind.FLAG,
        only_beside_file=True,
    ),
    Option(
        "files",
        ("-f", "--file"),
        "An images file (repeatable): docs/many-images.md says what is in it.",
        replace(
            MANY, plan=HERE, dib="the files of diskimage-builder", action=Input(("images_file",), with_images=True)
        ),
        kind=Kind.PATH,
        multiple=True,
        metavar="FILE",
    ),
    Option("as_json", ("--json",), "Print JSON.", PLAN, field="shown.as_json", kind=Kind.FLAG),
)

_ELSEWHERE = No("the command plan does it")
DRY_RUN = Option(
    "dry_run",
    ("--dry-run",),
    "Build nothing: show what `dib-ctr plan` shows.",
    replace(MANY, plan=_ELSEWHERE, action=No("the action builds"), kubernetes=No("the pods build")),
    kind=Kind.FLAG,
)

SHELL_OPTIONS: tuple[Option, ...] = (
    Option(
        "at",
        ("--at",),
        "The tree as this stage finds it, by number, script or title [default: finished].",
        SHELL,
        metavar="STAGE",
    ),
)
