# What boots the disk and how, and from the layout (DIB_BLOCK_DEVICE) and the architecture: which firmware there may be.
# These words and terminals are a PC's; what s390x starts is what its zipl writes, or here the disk's writer.
dib_bootloader_kind=grub dib_bootloader_words="nofb nomodeset gfxpayload=text" dib_bootloader_terminal=tty0
dib_bootloader_timer=True
if [ "$ARCH" = s390x ]; then
    dib_bootloader_kind=zipl dib_bootloader_words="" dib_bootloader_terminal="" dib_bootloader_timer=False
fi
export DIB_BOOTLOADER="${DIB_BOOTLOADER:-$dib_bootloader_kind}"
export DIB_BOOTLOADER_DEFAULT_CMDLINE="${DIB_BOOTLOADER_DEFAULT_CMDLINE-$dib_bootloader_words}"
export DIB_BOOTLOADER_USE_SERIAL_CONSOLE="${DIB_BOOTLOADER_USE_SERIAL_CONSOLE:-True}"
export DIB_BOOTLOADER_VIRTUAL_TERMINAL="${DIB_BOOTLOADER_VIRTUAL_TERMINAL-$dib_bootloader_terminal}"
export DIB_GRUB_TIMEOUT="${DIB_GRUB_TIMEOUT:-5}"
export DIB_GRUB_TIMEOUT_STYLE="${DIB_GRUB_TIMEOUT_STYLE:-menu}"
export DIB_NO_TIMER_CHECK="${DIB_NO_TIMER_CHECK:-$dib_bootloader_timer}"
export DIB_SKIP_GRUB_PACKAGE_INSTALL="${DIB_SKIP_GRUB_PACKAGE_INSTALL:-False}"

dib_bootloader_serial=ttyS0,115200
dib_bootloader_efi="" # GRUB's name of the platform
dib_bootloader_bios="" # what a layout without an ESP boots by: GRUB's name again, or zipl
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
    s390x) dib_bootloader_bios=zipl dib_bootloader_serial=ttysclp0 ;;
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
if [ "$ARCH" = s390x ] && [ "$DIB_BOOTLOADER" != zipl ]; then
    echo "bootloader: DIB_BOOTLOADER is '$DIB_BOOTLOADER', and s390x machines start by zipl's boot record alone; leave the" \
        "variable out." >&2
    exit 1
fi
if [ "$ARCH" != s390x ] && [ "$DIB_BOOTLOADER" = zipl ]; then
    echo "bootloader: zipl is s390x's boot loader, and this image is for $ARCH; leave DIB_BOOTLOADER out, which is GRUB" \
        "here." >&2
    exit 1
fi
case "$DIB_BOOTLOADER" in
    grub | zipl) ;;
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
if [ "$DIB_BOOTLOADER" = systemd-boot ] || [ "$DIB_BOOTLOADER" = uki ]; then
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
# The platforms to make loaders for, in GRUB's names (or zipl), separated by blanks.
read -r dib_bootloader_platforms <<< "$dib_bootloader_platforms" || true
export DIB_BOOTLOADER_PLATFORMS="$dib_bootloader_platforms"
