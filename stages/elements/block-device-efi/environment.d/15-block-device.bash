# Which boot loaders this layout has room for: the element bootloader asks.
case "$ARCH" in
    ppc | powerpc | ppc64 | ppc64el | ppc64le | s390x)
        echo "block-device-efi: $ARCH does not boot by UEFI; use block-device-gpt." >&2
        exit 1
        ;;
esac
export DIB_BLOCK_DEVICE=efi
