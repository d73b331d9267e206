"""Rows of the option table: where a build runs, and what the image is."""

from __future__ import annotations

from dataclasses import replace

from builder.request.option_table.doors import HERE, IMAGE, WHERE
from builder.request.option_table.option import Each, Form, Input, Key, Kind, No, Option, Reading

ENGINES = ("auto", "podman", "docker", "podman-socket", "docker-socket", "host")

ENGINE_OPTIONS: tuple[Option, ...] = (
    Option(
        "engine",
        ("--engine",),
        "What runs the build [env: DIB_CTR_ENGINE].",
        replace(WHERE, dib="DIB_CTR_ENGINE", action=Input(("engine",), with_images=True), hint=1),
        field="engine.engine",
        kind=Kind.CHOICE,
        choices=ENGINES,
        default="auto",
        show_default=True,
        environment="DIB_CTR_ENGINE",
    ),
    Option(
        "store",
        ("--store",),
        "Where the store of the host engine is [env: DIB_CTR_STORE].",
        replace(WHERE, dib="DIB_CTR_STORE", hint=3),
        field="engine.store",
        metavar="DIR",
    ),
    Option(
        "host",
        ("--host",),
        "Where the engine is: unix://, tcp://, ssh://, or the name of podman's connection, docker's context.",
        replace(WHERE, hint=2),
        field="engine.host",
        metavar="ADDRESS",
    ),
    Option("debug", ("--debug",), "Show tracebacks.", WHERE, field="engine.debug", kind=Kind.FLAG),
)

IMAGE_OPTIONS: tuple[Option, ...] = (
    Option(
        "name",
        ("--name",),
        "The image's name [default: the operating-system element's].",
        replace(IMAGE, images_file=Key(Form.TEXT, "the image's name"), dib="-o", action=Input(("name",)), hint=5),
    ),
    Option(
        "arch",
        ("--arch",),
        "The image's architecture [default: this machine's]; build takes several: amd64,arm64.",
        replace(
            IMAGE,
            images_file=Key(Form.TEXTS, "the architecture; several make one image of them all", reading=Reading.COMMAS),
            dib="-a",
            action=Input(("arch",)),
            hint=6,
        ),
    ),
    Option(
        "release",
        ("--release",),
        "The distribution's release (sets DIB_RELEASE).",
        replace(
            IMAGE,
            images_file=Key(Form.TEXT, "the distribution's release"),
            dib="DIB_RELEASE",
            action=Input(("release",)),
            hint=7,
        ),
    ),
    Option(
        "secrets",
        ("--secret",),
        "This variable is secret (repeatable; * in a name counts); its value may come from the environment.",
        replace(
            IMAGE,
            images_file=Key(Form.TEXTS, "names of variables that are secret", joins=True, name="secrets"),
            hint=13,
        ),
        multiple=True,
        metavar="NAME",
    ),
    Option(
        "settings",
        ("--set",),
        "Set an element's variable; DIB_* of the environment count too.",
        replace(
            IMAGE,
            beside_file=HERE,
            images_file=Key(Form.MAP, "elements' variables", joins=True, name="variables", reading=Reading.SETTINGS),
            dib="exported variables",
            action=Input(("variables",), Each.LINE, with_images=True),
            hint=12,
        ),
        multiple=True,
        metavar="NAME=VALUE",
    ),
    Option(
        "elements_path",
        ("--elements-path",),
        "Where to look for elements first [env: ELEMENTS_PATH].",
        replace(
            IMAGE,
            beside_file=HERE,
            images_file=Key(Form.TEXTS, "folders of elements, beside this file", joins=True, reading=Reading.FOLDERS),
            dib="ELEMENTS_PATH",
            action=Input(("elements_path",), with_images=True),
            hint=8,
        ),
        metavar="DIR:DIR",
    ),
    Option(
        "packages",
        ("-p", "--package"),
        "Install a package (repeatable, or A,B).",
        replace(
            IMAGE,
            images_file=Key(Form.TEXTS, "packages to install", joins=True, name="packages"),
            dib="-p",
            action=Input(("packages",), Each.WORD),
            hint=14,
        ),
        multiple=True,
        metavar="NAME",
    ),
    Option(
        "no_cache",
        ("--no-cache",),
        "Run every stage; packages still come from the package cache.",
        replace(IMAGE, beside_file=HERE, hint=No("a shell wants the layers that the build has made")),
        kind=Kind.FLAG,
    ),
    Option(
        "locked",
        ("--locked",),
        "Build exactly what this lock names, or fail naming what is gone.",
        replace(IMAGE, images_file=Key(Form.TEXT, "build what this lock names", reading=Reading.BESIDE), hint=9),
        field="locks.locked",
        kind=Kind.PATH,
        metavar="FILE",
    ),
    Option(
        "snapshot",
        ("--snapshot",),
        "Take packages from a snapshot of their archive: 20261101T000000Z or 2026-11-01"
        " [its service: env DIB_CTR_SNAPSHOT_URL].",
        replace(IMAGE, images_file=Key(Form.TEXT, "packages of this time"), hint=10),
        field="locks.snapshot",
        metavar="TIME",
    ),
    Option(
        "offline",
        ("--offline",),
        "Cut the network; take repositories as they were seen last.",
        replace(IMAGE, beside_file=HERE, images_file=Key(Form.FLAG, "without a network"), dib="--offline", hint=11),
        kind=Kind.FLAG,
    ),
    Option(
        "base",
        ("--from",),
        "Begin with an image: HOST/NAME:TAG, oci:DIR, oci-archive:FILE, docker-archive:FILE;"
        " or with what a Containerfile gives: containerfile:PATH.",
        replace(
            IMAGE,
            images_file=Key(Form.TEXT, "an image to begin with", name="from"),
            dib=No("its elements containerfile and base-image say it"),
            action=Input(("from",)),
            hint=4,
        ),
        metavar="IMAGE",
    ),
)
