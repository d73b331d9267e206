# The kernel's package for this release and architecture, and what makes its ram disk; empty where none is known.
dib_linux_image="${DIB_FACT_PACKAGES_KERNEL:-}"
if [ "${DISTRO_NAME:-}" = ubuntu ]; then
    dib_linux_image="${DIB_UBUNTU_KERNEL:-$dib_linux_image}"
fi
if [ -n "$dib_linux_image" ] && [ -n "${DIB_FACT_PACKAGES_INITRAMFS:-}" ]; then
    dib_linux_image+=" $DIB_FACT_PACKAGES_INITRAMFS"
fi
export DIB_LINUX_IMAGE="${DIB_LINUX_IMAGE:-$dib_linux_image}"
