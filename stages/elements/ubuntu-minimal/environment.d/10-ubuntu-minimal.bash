# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=ubuntu
export DIB_RELEASE="${DIB_RELEASE:-noble}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/ubuntu"

export DIB_DEBIAN_COMPONENTS="${DIB_DEBIAN_COMPONENTS:-main,universe}"
export DIB_DEBIAN_COMPONENTS_WS="${DIB_DEBIAN_COMPONENTS//,/ }"
export DIB_APT_DEFAULT_KEYRING=/usr/share/keyrings/ubuntu-archive-keyring.gpg
export DIB_UBUNTU_KERNEL="${DIB_UBUNTU_KERNEL:-linux-image-generic}"
export DIB_UBUNTU_MIRROR_DISTS="${DIB_UBUNTU_MIRROR_DISTS:-updates,security,backports}"

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
    case "$DIB_RELEASE" in
        focal | jammy) ;;
        # Later releases have all their sources in one file, which cloud-init writes anew on a machine of a cloud's.
        *) export DIB_CTR_APT_SOURCES_FILE=ubuntu.sources ;;
    esac
    DIB_APT_SOURCES_CONF="default:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE $DIB_DEBIAN_COMPONENTS_WS"
    for dib_ubuntu_suite in ${DIB_UBUNTU_MIRROR_DISTS//,/ }; do
        DIB_APT_SOURCES_CONF+=$'\n'"$dib_ubuntu_suite:deb $DIB_DISTRIBUTION_MIRROR"
        DIB_APT_SOURCES_CONF+=" $DIB_RELEASE-$dib_ubuntu_suite $DIB_DEBIAN_COMPONENTS_WS"
    done
fi
export DIB_APT_SOURCES_CONF
