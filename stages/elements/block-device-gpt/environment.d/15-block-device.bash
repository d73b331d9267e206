# Which boot loaders this layout has room for: the element bootloader asks.
case "$ARCH" in
    arm64 | aarch64)
        echo "block-device-gpt: $ARCH boots by UEFI, which this layout has no partition for; use block-device-efi." >&2
        exit 1
        ;;
esac
export DIB_BLOCK_DEVICE=gpt
