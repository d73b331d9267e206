# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/ubuntu.yaml.
export DISTRO_NAME=ubuntu
export DIB_RELEASE="${DIB_RELEASE:-noble}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

export DIB_DEBIAN_COMPONENTS="${DIB_DEBIAN_COMPONENTS:-${DIB_FACT_COMPONENTS// /,}}"
export DIB_DEBIAN_COMPONENTS_WS="${DIB_DEBIAN_COMPONENTS//,/ }"
export DIB_APT_DEFAULT_KEYRING="$DIB_FACT_KEYRING"
export DIB_UBUNTU_KERNEL="${DIB_UBUNTU_KERNEL:-$DIB_FACT_PACKAGES_KERNEL}"
export DIB_UBUNTU_MIRROR_DISTS="${DIB_UBUNTU_MIRROR_DISTS:-${DIB_FACT_POCKETS// /,}}"

DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_UBUNTU_MIRROR:-}}"
if [ -n "$DIB_DISTRIBUTION_MIRROR" ]; then
    export DIB_DISTRIBUTION_MIRROR
fi

if [ -z "${DIB_APT_SOURCES_CONF:-}" ]; then
    if [ -z "$DIB_DISTRIBUTION_MIRROR" ]; then
        echo "ubuntu-minimal: no mirror is known; set DIB_DISTRIBUTION_MIRROR to the address of an Ubuntu mirror" \
            "(the archive for amd64 and i386, the ports archive for all others)." >&2
        exit 1
    fi
    if [ -n "$DIB_FACT_SOURCES_FILE" ]; then
        export DIB_CTR_APT_SOURCES_FILE="$DIB_FACT_SOURCES_FILE"
    fi
    DIB_APT_SOURCES_CONF="default:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE $DIB_DEBIAN_COMPONENTS_WS"
    for dib_ubuntu_suite in ${DIB_UBUNTU_MIRROR_DISTS//,/ }; do
        DIB_APT_SOURCES_CONF+=$'\n'"$dib_ubuntu_suite:deb $DIB_DISTRIBUTION_MIRROR"
        DIB_APT_SOURCES_CONF+=" $DIB_RELEASE-$dib_ubuntu_suite $DIB_DEBIAN_COMPONENTS_WS"
    done
fi
export DIB_APT_SOURCES_CONF
