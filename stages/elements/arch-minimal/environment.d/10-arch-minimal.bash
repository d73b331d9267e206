# What every other element asks about this operating system, and where its packages come from. What is known of it (DIB_FACT_*)
# stands in stages/distributions/arch.yaml.
export DISTRO_NAME=arch
export DIB_RELEASE="${DIB_RELEASE:-rolling}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"
export DIB_ARCH_KEYRING="${DIB_ARCH_KEYRING:-$DIB_FACT_KEYRING}"
if [ "$DIB_ARCH_KEYRING" = "$DIB_FACT_KEYRING" ]; then
    export DIB_ARCH_TRUSTED="${DIB_ARCH_TRUSTED-$DIB_FACT_TRUSTED}"
else
    export DIB_ARCH_TRUSTED="${DIB_ARCH_TRUSTED:-}"
fi
export DIB_ARCH_REVOKED="${DIB_ARCH_REVOKED-$DIB_FACT_REVOKED}"
export DIB_ARCH_BASE_PACKAGES="${DIB_ARCH_BASE_PACKAGES:-base}"
export DIB_ARCH_REPOSITORIES="${DIB_ARCH_REPOSITORIES:-$DIB_FACT_REPOSITORIES}"

if [ -z "$DIB_FACT_ARCHITECTURE" ]; then
    echo "arch-minimal: Arch Linux is made for amd64 alone, not for $ARCH." >&2
    exit 1
fi
DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_ARCH_MIRROR:-}}"
case "$DIB_RELEASE" in
    rolling)
        DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-$DIB_FACT_MIRROR}"
        dib_arch_base="${DIB_DISTRIBUTION_MIRROR%/}"
        ;;
    # A day of the archive, whose folder `repos` the mirror is.
    [0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9])
        DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-$DIB_FACT_DAYS_MIRROR}"
        dib_arch_base="${DIB_DISTRIBUTION_MIRROR%/}/$DIB_RELEASE"
        ;;
    *)
        echo "arch-minimal: DIB_RELEASE is '$DIB_RELEASE'; expected rolling, or a day of the archive as 2026/11/01." >&2
        exit 1
        ;;
esac
export DIB_DISTRIBUTION_MIRROR
export DIB_ARCH_SERVER="$dib_arch_base/\$repo/os/\$arch"
DIB_CTR_REPOSITORIES=""
for dib_arch_repository in $DIB_ARCH_REPOSITORIES; do
    DIB_CTR_REPOSITORIES+="$dib_arch_repository $dib_arch_base/$dib_arch_repository/os/$DIB_FACT_ARCHITECTURE/$dib_arch_repository.db"$'\n'
done
export DIB_CTR_REPOSITORIES
