"""Variables that were set and that nothing in the image reads: most often a name is mistyped.

A build of diskimage-builder hands on whatever is set. Here too: but who sets a variable that neither the image's
elements nor the build itself name hears of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from blockdev.core.suggest import nearest
from builder.request.variables import EPOCH
from stages.element.environment import SERVICES
from stages.element.files import SKIPPED, files_of
from stages.element.resolve import BUILTIN, Element

# What the build reads itself, whatever its elements are.
KNOWN = frozenset(
    {
        *SERVICES,
        EPOCH,
        *("ARCH", "FS_TYPE", "IMAGE_NAME", "IMAGE_TYPE", "ELEMENTS_PATH", "ROOT_LABEL", "MAX_ONLINE_RESIZE"),
        *("QEMU_IMG_OPTIONS", "ACI_MANIFEST", "OVERWRITE_OLD_IMAGE", "RAMDISK_ELEMENT", "QEMU_CPU"),
        *("IMAGE_ELEMENT", "IMAGE_ELEMENT_YAML", "IMAGE_BLOCK_DEVICE", "IMAGE_BLOCK_DEVICES"),
        *("REG_SAT_CA", "REG_ACTIVATION_KEY"),
        *("DIB_RELEASE", "DIB_ARGS", "DIB_ENV", "DIB_DEBUG_TRACE", "DIB_QUIET", "DIB_CHECKSUM", "DIB_GZIP_BIN"),
        *("DIB_NO_TMPFS", "DIB_MIN_TMPFS", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_SHOW_IMAGE_USAGE"),
        *(
            "DIB_SHOW_IMAGE_USAGE_FULL",
            "DIB_NO_TIMESTAMP",
            "DIB_IMAGE_SIZE",
            "DIB_IMAGE_EXTRA_SIZE",
            "DIB_JOURNAL_SIZE",
        ),
        *("DIB_BLOCK_DEVICE", "DIB_BLOCK_DEVICE_CONFIG", "DIB_BLOCK_SIZE", "DIB_ROOT_LABEL", "DIB_ROOT_FSTYPE"),
        *("DIB_BOOT_LABEL", "DIB_MOUNTPOINTS", "DIB_DEFAULT_INSTALLTYPE", "DIB_GITREPOBASE", "DIB_PYTHON_VERSION"),
        *("DIB_PYTHON_EXEC", "DIB_PYTHON_LOGGING_CONFIG_FILE", "DIB_DISTRIBUTION_MIRROR"),
        *("DIB_DEBIAN_DISTRIBUTION_MIRROR", "DIB_APT_SOURCES_CONF", "DIB_YUM_MINIMAL_BOOTSTRAP_REPOS"),
        *("DIB_CONTAINER_IMAGE", "DIB_CONTAINER_REGISTRY", "DIB_CONTAINER_CONTEXT", "DIB_CONTAINERFILE_DOCKERFILE"),
        *("DIB_CONTAINERFILE_RUNTIME", "DIB_CONTAINERFILE_NETWORK_DRIVER", "DIB_CONTAINERFILE_BUILDOPTS"),
        *("DIB_BAREMETAL_INITRD_PATTERN", "DIB_BAREMETAL_KERNEL_PATTERN", "DIB_MODULE_ROOT", "DIB_LIB_UDEV_ROOT"),
        *("DIB_SIGNED_KERNEL_VERSION", "DIB_RUN_PARTS", "DIB_BOOTLOADER_DEFAULT_CMDLINE"),
        *("DIB_APT_KEYRING", "DIB_RPM_KEYS", "DIB_ARCH_KEYRING"),
    }
)
# How names begin that are made of an element's or a repository's, and those that programs read by themselves.
PREFIXES = ("DIB_CTR_", "DIB_INSTALLTYPE_", "DIB_REPOTYPE_", "DIB_REPOLOCATION_", "DIB_REPOREF_", "PIP_")
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_BEGUN = re.compile(rb"(DIB_[A-Z0-9]+_[A-Z0-9_]*|[A-CE-Z][A-Z0-9]+_)(?:\$|%s|\{|['\"`]\s*[$+.])")
_PROSE = re.compile(r"readme|.*\.(md|rst)\Z", re.IGNORECASE)
_LARGE = 1 << 20  # bytes; no script is


def remarks(variables: Mapping[str, str], elements: Sequence[Element]) -> tuple[str, ...]:
    """A sentence for each of the variables that nothing reads, with the name that may be meant."""
    unread = {name for name in variables if name not in KNOWN and not name.startswith(PREFIXES)}
    if not unread:
        return ()
    names: set[str] = set()
    own_first = sorted(elements, key=lambda element: element.path.is_relative_to(BUILTIN))
    for data in _texts(own_first):
        read_here = {name.decode() for name in _NAME.findall(data)}
        begun = tuple(prefix.decode() for prefix in _BEGUN.findall(data))
        names |= read_here
        unread = {name for name in unread - read_here if not name.startswith(begun)}
        if not unread:
            return ()
    names_in_use = {name for name in names if name.isupper() and "_" in name} | KNOWN
    return tuple(_sentence(name, names_in_use) for name in sorted(unread))


def _texts(elements: Iterable[Element]) -> Iterator[bytes]:
    """The content of the elements' files, but for what people read."""
    for element in elements:
        for file in files_of(element.path, SKIPPED):
            if not _PROSE.match(file.name) and file.is_file() and file.stat().st_size < _LARGE:
                yield _read(file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""  # it is refused where it is packed


def _sentence(name: str, names: Iterable[str]) -> str:
    meant = nearest(name, names, cutoff=0.75)
    return f"{name} is set, but nothing in this image reads it" + (f"; {meant}" if meant else "")
