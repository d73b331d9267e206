# What every other element asks about this operating system: what the image says of itself, unless the user says it.
if [ -z "${DIB_CTR_BASE_IMAGE:-}" ]; then
    echo "base-image: no image is named to begin with; build with --from IMAGE." >&2
    exit 1
fi
export DISTRO_NAME="${DISTRO_NAME:-$DIB_CTR_BASE_DISTRIBUTION}"
export DIB_RELEASE="${DIB_RELEASE:-$DIB_CTR_BASE_RELEASE}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_CTR_BASE_INIT}"
if [ -z "$DISTRO_NAME" ]; then
    echo "base-image: the image has no /etc/os-release; say what it is with DISTRO_NAME and DIB_RELEASE." >&2
    exit 1
fi
case "$DISTRO_NAME" in
    rhel) export EFI_BOOT_DIR="${EFI_BOOT_DIR:-EFI/redhat}" ;;
    *) export EFI_BOOT_DIR="${EFI_BOOT_DIR:-EFI/$DISTRO_NAME}" ;;
esac
