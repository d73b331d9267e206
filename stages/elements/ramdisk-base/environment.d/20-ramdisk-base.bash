# The kernel's package: any name that the image's package sources have, or `none` where another element installs one.
dib_ramdisk_kernel=""
case "${DISTRO_NAME:-}" in
    ubuntu) dib_ramdisk_kernel="${DIB_UBUNTU_KERNEL:-linux-image-generic}" ;;
    debian)
        case "$ARCH" in
            amd64 | x86_64) dib_ramdisk_kernel=linux-image-amd64 ;;
            arm64 | aarch64) dib_ramdisk_kernel=linux-image-arm64 ;;
            armhf) dib_ramdisk_kernel=linux-image-armmp ;;
            i386) dib_ramdisk_kernel=linux-image-686-pae ;;
            ppc64el | ppc64le) dib_ramdisk_kernel=linux-image-powerpc64le ;;
            *) dib_ramdisk_kernel="linux-image-$ARCH" ;;
        esac
        ;;
esac
export DIB_RAMDISK_KERNEL="${DIB_RAMDISK_KERNEL:-$dib_ramdisk_kernel}"
if [ -z "$DIB_RAMDISK_KERNEL" ]; then
    echo "ramdisk-base: no kernel package is known for '${DISTRO_NAME:-}'; set DIB_RAMDISK_KERNEL to its name, or to none." >&2
    exit 1
fi
