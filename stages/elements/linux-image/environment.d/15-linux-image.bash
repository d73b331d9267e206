# The kernel's package for this distribution and architecture; empty where none is known.
dib_linux_image=""
case "${DISTRO_NAME:-}" in
    fedora | centos | rocky | almalinux | rhel) dib_linux_image="kernel-core dracut" ;;
    arch) dib_linux_image="linux mkinitcpio" ;;
    gentoo)
        case "$ARCH" in # there are ready-made kernels for these
            amd64 | x86_64 | arm64 | aarch64 | i386 | i686 | ppc64el | ppc64le)
                dib_linux_image="sys-kernel/installkernel sys-kernel/dracut sys-kernel/gentoo-kernel-bin"
                ;;
            *) dib_linux_image="sys-kernel/installkernel sys-kernel/dracut sys-kernel/gentoo-kernel" ;;
        esac
        ;;
    opensuse) dib_linux_image="kernel-default dracut" ;;
    alpine)
        case "$ARCH" in
            loongarch64 | riscv64 | s390x) dib_linux_image="linux-lts mkinitfs" ;;
            *) dib_linux_image="linux-virt mkinitfs" ;;
        esac
        ;;
    # Ubuntu's kernels only recommend what makes their initial ram disk.
    ubuntu) dib_linux_image="${DIB_UBUNTU_KERNEL:-linux-image-generic} initramfs-tools" ;;
    debian)
        case "$ARCH" in
            amd64 | x86_64) dib_linux_image=linux-image-amd64 ;;
            arm64 | aarch64) dib_linux_image=linux-image-arm64 ;;
            armhf) dib_linux_image=linux-image-armmp ;;
            i386)
                # Debian 12 is the last release with a kernel for it.
                case "${DIB_RELEASE:-}" in
                    bullseye | bookworm) dib_linux_image=linux-image-686-pae ;;
                esac
                ;;
            ppc64el | ppc64le) dib_linux_image=linux-image-powerpc64le ;;
            *) dib_linux_image="linux-image-$ARCH" ;;
        esac
        ;;
esac
export DIB_LINUX_IMAGE="${DIB_LINUX_IMAGE:-$dib_linux_image}"
