# The kernel's package: any name that the image's package sources have, or `none` where another element installs one.
export DIB_RAMDISK_KERNEL="${DIB_RAMDISK_KERNEL:-$DIB_LINUX_IMAGE}"
if [ -z "$DIB_RAMDISK_KERNEL" ]; then
    echo "ramdisk-base: no kernel package is known for '${DISTRO_NAME:-}'; set DIB_RAMDISK_KERNEL to its name, or to none." >&2
    exit 1
fi
