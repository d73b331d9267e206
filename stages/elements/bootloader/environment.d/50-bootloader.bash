# What boots the disk and how, and from the layout (DIB_BLOCK_DEVICE) and the architecture: which firmware there may be.
export DIB_BOOTLOADER="${DIB_BOOTLOADER:-grub}"
export DIB_BOOTLOADER_DEFAULT_CMDLINE="${DIB_BOOTLOADER_DEFAULT_CMDLINE-nofb nomodeset gfxpayload=text}"
export DIB_BOOTLOADER_USE_SERIAL_CONSOLE="${DIB_BOOTLOADER_USE_SERIAL_CONSOLE:-True}"
export DIB_BOOTLOADER_VIRTUAL_TERMINAL="${DIB_BOOTLOADER_VIRTUAL_TERMINAL-tty0}"
export DIB_GRUB_TIMEOUT="${DIB_GRUB_TIMEOUT:-5}"
export DIB_GRUB_TIMEOUT_STYLE="${DIB_GRUB_TIMEOUT_STYLE:-menu}"
export DIB_NO_TIMER_CHECK="${DIB_NO_TIMER_CHECK:-True}"
export DIB_SKIP_GRUB_PACKAGE_INSTALL="${DIB_SKIP_GRUB_PACKAGE_INSTALL:-False}"

dib_bootloader_serial=ttyS0,115200
dib_bootloader_efi="" # GRUB's name of the platform
dib_bootloader_bios=""
dib_bootloader_signed=False
case "$ARCH" in
    amd64 | x86_64)
        dib_bootloader_efi=x86_64-efi dib_bootloader_bios=i386-pc dib_bootloader_signed=True
        ;;
    i386 | i686) dib_bootloader_efi=i386-efi dib_bootloader_bios=i386-pc ;;
    arm64 | aarch64)
        dib_bootloader_efi=arm64-efi dib_bootloader_serial=ttyAMA0,115200 dib_bootloader_signed=True
        ;;
    armhf | armv7l) dib_bootloader_efi=arm-efi dib_bootloader_serial=ttyAMA0,115200 ;;
    riscv64) dib_bootloader_efi=riscv64-efi ;;
    ppc | powerpc | ppc64 | ppc64le | ppc64el)
        dib_bootloader_bios=powerpc-ieee1275 dib_bootloader_serial=hvc0
        ;;
esac
case "${DISTRO_NAME:-}" in
    debian | ubuntu | fedora | centos | rocky | almalinux | rhel | opensuse) ;;
    *) dib_bootloader_signed=False ;;
esac
export DIB_BOOTLOADER_SERIAL_CONSOLE="${DIB_BOOTLOADER_SERIAL_CONSOLE:-$dib_bootloader_serial}"
export DIB_BOOTLOADER_SIGNED="${DIB_BOOTLOADER_SIGNED:-$dib_bootloader_signed}"

case "${DIB_BLOCK_DEVICE:-}" in
    "") dib_bootloader_platforms="" ;;
    mbr | gpt) dib_bootloader_platforms="$dib_bootloader_bios" ;;
    efi | hybrid) dib_bootloader_platforms="$dib_bootloader_bios $dib_bootloader_efi" ;;
    *)
        echo "bootloader: DIB_BLOCK_DEVICE is '$DIB_BLOCK_DEVICE'; expected mbr, gpt, efi or hybrid." >&2
        exit 1
        ;;
esac
if [ "$ARCH" = s390x ]; then
    echo "bootloader: there is no boot loader for s390x, whose zipl writes to a mounted disk; leave the element out and" \
        "start the disk with a kernel beside it (dib-ctr boot --kernel)." >&2
    exit 1
fi
case "$DIB_BOOTLOADER" in
    grub) ;;
    systemd-boot | uki) dib_bootloader_platforms="$dib_bootloader_efi" ;;
    *)
        echo "bootloader: DIB_BOOTLOADER is '$DIB_BOOTLOADER'; expected grub, systemd-boot or uki." >&2
        exit 1
        ;;
esac
if [ "${DIB_EXTLINUX:-0}" != 0 ]; then
    echo "bootloader: extlinux (DIB_EXTLINUX) is not supported; leave the variable out and take GRUB." >&2
    exit 1
fi
if [ "$DIB_BOOTLOADER" != grub ]; then
    case "${DIB_BLOCK_DEVICE:-}" in
        efi | hybrid) ;;
        *)
            echo "bootloader: $DIB_BOOTLOADER needs a layout with an EFI system partition; use block-device-hybrid" \
                "or block-device-efi, or DIB_BOOTLOADER=grub." >&2
            exit 1
            ;;
    esac
fi
case "$DIB_BOOTLOADER:${DIB_RELEASE:-}" in
    uki:bullseye | uki:bookworm | uki:focal | uki:jammy)
        echo "bootloader: $DIB_RELEASE has no ukify to make unified kernel images with; take a later release" \
            "(trixie, noble), or DIB_BOOTLOADER=systemd-boot." >&2
        exit 1
        ;;
esac
# The platforms to make loaders for, in GRUB's names, separated by blanks.
read -r dib_bootloader_platforms <<< "$dib_bootloader_platforms" || true
export DIB_BOOTLOADER_PLATFORMS="$dib_bootloader_platforms"
