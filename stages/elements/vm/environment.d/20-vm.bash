# The kernel's package: any name that the image's package sources have, or `none`.
dib_vm_kernel=""
case "${DISTRO_NAME:-}" in
    ubuntu) dib_vm_kernel="${DIB_UBUNTU_KERNEL:-linux-image-generic}" ;;
    debian)
        case "$ARCH" in
            amd64 | x86_64) dib_vm_kernel=linux-image-amd64 ;;
            arm64 | aarch64) dib_vm_kernel=linux-image-arm64 ;;
            armhf) dib_vm_kernel=linux-image-armmp ;;
            i386) dib_vm_kernel=linux-image-686-pae ;;
            ppc64el | ppc64le) dib_vm_kernel=linux-image-powerpc64le ;;
            *) dib_vm_kernel="linux-image-$ARCH" ;;
        esac
        ;;
esac
export DIB_VM_KERNEL="${DIB_VM_KERNEL:-$dib_vm_kernel}"
export DIB_VM_HOSTNAME="${DIB_VM_HOSTNAME:-${DISTRO_NAME:-localhost}}"
export DIB_DEBOOTSTRAP_DEFAULT_LOCALE="${DIB_DEBOOTSTRAP_DEFAULT_LOCALE:-C.UTF-8}"
if [ -z "$DIB_VM_KERNEL" ]; then
    echo "vm: no kernel package is known for '${DISTRO_NAME:-}'; set DIB_VM_KERNEL to its name, or to none." >&2
    exit 1
fi
