"""Why front doors leave options out, and what most rows of the option table have in common."""

from __future__ import annotations

from dataclasses import replace

from builder.request.option_table.option import Doors, Here, InMap, No

HERE = Here()

# -- why a front door leaves an option out ---------------------------------------------------------------------------

IN_FILE = No("each image says it in the file")
OF_A_BUILD = No("it is said of a build, not of an image")
NOTHING_WRITTEN = No("it is about what a build writes, and this writes nothing")
NOT_IN_DIB = No("diskimage-builder has nothing like it")
MORE_WORDS = No("the input arguments takes it")
PODS = No("the pods read it in the images file")
PODS_SET = No("the pods' own command line says it")
OTHER_TREE = No("the tree that a shell opens is the same without it")

# -- what most rows of a kind have in common -------------------------------------------------------------------------

# Where a build runs.
WHERE = Doors(
    *(HERE, HERE, HERE, HERE),
    images_file=OF_A_BUILD,
    dib=NOT_IN_DIB,
    action=MORE_WORDS,
    kubernetes=PODS_SET,
    hint=OTHER_TREE,
)
# What an image is.
IMAGE = Doors(
    *(HERE, HERE, HERE, IN_FILE),
    images_file=OF_A_BUILD,
    dib=NOT_IN_DIB,
    action=MORE_WORDS,
    kubernetes=PODS,
    hint=OTHER_TREE,
)
# What is written, and where to.
WRITTEN = replace(IMAGE, shell=NOTHING_WRITTEN)
# What else a build does.
BUILD = replace(WRITTEN, plan=NOTHING_WRITTEN)
# For the terminal and logs.
SHOWN = replace(WHERE, plan=NOTHING_WRITTEN, shell=NOTHING_WRITTEN)
# Of many images.
_ONE_IMAGE = No("a shell is of one image")
MANY = replace(SHOWN, hint=_ONE_IMAGE, shell=_ONE_IMAGE)
DISK = replace(WRITTEN, images_file=InMap("disk"))
PUSH = replace(BUILD, beside_file=HERE)
_TERMINAL = No("a shell needs a terminal for itself")
BREAK = replace(BUILD, beside_file=_TERMINAL, images_file=_TERMINAL)
_NO_BUILD = No("a build has no use for it")
PLAN = replace(MANY, build=_NO_BUILD, plan=HERE, action=No("the action builds"), kubernetes=No("the pods build"))
SHELL = replace(
    IMAGE,
    build=_NO_BUILD,
    plan=_NO_BUILD,
    beside_file=_ONE_IMAGE,
    images_file=_NO_BUILD,
    action=No("the action builds"),
    kubernetes=No("the pods build"),
    hint=No("the report of a failure adds it: it knows the stage"),
)
