"""Every option, key and variable of diskimage-builder's commands has its effect here, or is said to have none."""

from __future__ import annotations

import re
from pathlib import Path

from builder.frontends.dib import image_lists, remarks
from builder.frontends.dib.arguments import VALUES, parse
from builder.frontends.dib.translate import translate
from builder.request import unread_variables
from tests import upstream

# Variables that the driver takes from its caller, and where that has its effect.
HEEDED = {
    "ACI_MANIFEST": "translate",
    "ARCH": "translate",
    "CLEAR_ENV": "commands/dib",
    "DIB_BAREMETAL_INITRD_PATTERN": "the library img-functions, to which _LIB leads",
    "DIB_BAREMETAL_KERNEL_PATTERN": "the library img-functions, to which _LIB leads",
    "DIB_BLOCK_DEVICE_CONFIG": "the disk's configuration",
    "DIB_BLOCK_SIZE": "disk_options",
    "DIB_CHECKSUM": "translate",
    "DIB_DEBUG_TRACE": "scripts",
    "DIB_DEFAULT_INSTALLTYPE": "scripts",
    "DIB_IMAGE_EXTRA_SIZE": "disk_options",
    "DIB_IMAGE_SIZE": "disk_options",
    "DIB_JOURNAL_SIZE": "disk_options",
    "DIB_LIB_UDEV_ROOT": "the library ramdisk-defaults, to which _LIB leads",
    "DIB_MODULE_ROOT": "the library ramdisk-defaults, to which _LIB leads",
    "DIB_NO_TIMESTAMP": "nothing has a time before it, but in a log file, as there",
    "DIB_OFFLINE": "translate",
    "DIB_PYTHON_LOGGING_CONFIG_FILE": "the module diskimage_builder.logging_config that scripts find",
    "DIB_QUIET": "translate",
    "DIB_RELEASE": "scripts",
    "DIB_SIGNED_KERNEL_VERSION": "the library img-functions, to which _LIB leads",
    "ELEMENTS_PATH": "the search for elements",
    "FS_TYPE": "disk_options",
    "GENTOO_PROFILE": "scripts",
    "IMAGE_ELEMENT": "translate",
    "IMAGE_NAME": "translate",
    "MAX_ONLINE_RESIZE": "disk_options",
    "OVERWRITE_OLD_IMAGE": "commands/dib",
    "QEMU_IMG_OPTIONS": "translate",
    "RAMDISK_ELEMENT": "translate",
    "ROOT_LABEL": "disk_options",
    "SKIP_BASE": "translate",
}
# Those that the driver sets before it looks at them, whatever the caller says; and the shell's own.
ITS_OWN = """
BLOCK_DEVICE_CONFIG_YAML BOOTDIR COMPRESS_IMAGE DIB_ARGS DIB_BLOCK_DEVICE DIB_BLOCK_DEVICE_PARAMS_YAML
DIB_BOOT_LABEL DIB_ENV DIB_MOUNTPOINTS DIB_ROOT_FSTYPE DIB_ROOT_LABEL DIB_RUN_PARTS DISTRO_NAME DOCKER_TARGET
EXTRA_OPTIONS HOME IMAGE_BLOCK_DEVICE IMAGE_TYPE IMAGE_TYPES INSTALL_PACKAGES IS_RAMDISK KERNEL
KERNEL_VERSION LOGFILE MKFS_OPTS ORIG_HOME OUT_IMAGE_PATH PATH PIPESTATUS RAMDISK RAM_NEEDED SCRIPTNAME TARGET_ROOT
TEMP TMP_BUILD_DIR TMP_HOOKS_PATH TMP_IMAGE_DIR TMP_IMAGE_PATH TMP_MOUNT_PATH USER"""
LIBRARIES = (
    *("disk-image-create", "common-functions", "common-defaults", "img-functions", "img-defaults"),
    *("ramdisk-defaults", "outfilter.py"),
)


def text(*files: str) -> str:
    return "\n".join((upstream.package() / file).read_text(encoding="utf-8") for file in files)


def test_each_variable_is_heeded_or_remarked_on() -> None:
    driver = text(*(f"lib/{name}" for name in LIBRARIES))
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", driver))
    python = [str(file.relative_to(upstream.package())) for file in upstream.package().glob("block_device/**/*.py")]
    python = [file for file in (*python, "logging_config.py") if "tests" not in file]
    read |= set(re.findall(r"""["']([A-Z][A-Z0-9_]+)["'] in os\.environ""", text(*python)))
    assert len(read) > 60
    told = {name for names, _ in remarks.NO_EFFECT for name in names}
    told |= {"DIB_GZIP_BIN", "DIB_SHOW_IMAGE_USAGE", "DIB_SHOW_IMAGE_USAGE_FULL"}
    assert read - set(ITS_OWN.split()) - HEEDED.keys() - told == set()
    own = {name for name in HEEDED.keys() | told if name.startswith("DIB_")}
    assert own <= unread_variables.KNOWN, "these would be said to be mistyped"
    for name in told:
        argv = ["-t", "tgz", "os"]
        notes = translate(parse("c", argv), argv, {name: "1"}, "amd64", Path("/scratch"), ramdisk=False).notes
        assert any(name in note for note in notes), name


def test_each_option_is_taken() -> None:
    driver = text("lib/disk-image-create")
    (short, longs), *_ = re.findall(r"getopt -o (\S+) -l (\S+) -n", driver)
    cases = set(re.findall(r"^ +--([a-z-]+)\)", driver, re.MULTILINE))
    for long in {*longs.split(","), *(f"{name}:" for name in cases if name in VALUES)}:
        argv = [f"--{long.rstrip(':')}", *(["1"] if long.endswith(":") else []), "os"]
        assert parse("disk-image-create", argv).elements == ("os",), long
    for letter, takes in re.findall(r"([a-z])(:?)", short):
        assert parse("disk-image-create", [f"-{letter}", *(["1"] if takes else []), "os"]).elements == ("os",), letter
    assert cases - {"help", "version"} <= {*VALUES, "checksum", "no-tmpfs", "offline"}


def test_each_key_of_a_list_of_images_is_taken() -> None:
    source = text("diskimage_builder.py").partition("PROPERTIES = [")[2].partition("\n]\n")[0]
    keys = set(re.findall(r"^    \w+\(\s*\"([a-z-]+)\"", source, re.MULTILINE))
    assert len(keys) > 25
    assert keys == set(image_lists.KINDS)
