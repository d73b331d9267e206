# The kernel's package: any name that the image's package sources have, or `none`.
export DIB_VM_KERNEL="${DIB_VM_KERNEL:-$DIB_LINUX_IMAGE}"
export DIB_VM_HOSTNAME="${DIB_VM_HOSTNAME:-${DISTRO_NAME:-localhost}}"
export DIB_DEBOOTSTRAP_DEFAULT_LOCALE="${DIB_DEBOOTSTRAP_DEFAULT_LOCALE:-C.UTF-8}"
if [ -z "$DIB_VM_KERNEL" ]; then
    echo "vm: no kernel package is known for '${DISTRO_NAME:-}' ${DIB_RELEASE:-} on ${ARCH:-this architecture};" \
        "set DIB_VM_KERNEL to its name, or to none." >&2
    exit 1
fi
