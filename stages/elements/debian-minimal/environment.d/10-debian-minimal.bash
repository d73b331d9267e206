# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=debian
export DIB_RELEASE="${DIB_RELEASE:-trixie}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/debian"

export DIB_DEBIAN_COMPONENTS="${DIB_DEBIAN_COMPONENTS:-main}"
export DIB_DEBIAN_COMPONENTS_WS="${DIB_DEBIAN_COMPONENTS//,/ }"
export DIB_APT_DEFAULT_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

DIB_DISTRIBUTION_MIRROR="${DIB_DEBIAN_DISTRIBUTION_MIRROR:-${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_DEBIAN_MIRROR:-}}}"
if [ -n "$DIB_DISTRIBUTION_MIRROR" ]; then
    export DIB_DISTRIBUTION_MIRROR
fi

if [ -z "${DIB_APT_SOURCES_CONF:-}" ]; then
    if [ -z "$DIB_DISTRIBUTION_MIRROR" ]; then
        echo "debian-minimal: no mirror is known; set DIB_DISTRIBUTION_MIRROR to the address of a Debian mirror." >&2
        exit 1
    fi
    dib_debian_line="deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE $DIB_DEBIAN_COMPONENTS_WS"
    DIB_APT_SOURCES_CONF="default:$dib_debian_line"
    case "$DIB_RELEASE" in
        testing | unstable | sid | experimental | rc-buggy) ;;
        *)
            DIB_DEBIAN_SECURITY_MIRROR="${DIB_DEBIAN_SECURITY_MIRROR:-${DIB_CTR_DEBIAN_SECURITY_MIRROR:-}}"
            if [ -z "$DIB_DEBIAN_SECURITY_MIRROR" ]; then
                echo "debian-minimal: no mirror of security updates is known; set DIB_DEBIAN_SECURITY_MIRROR to its" \
                    "address, or DIB_APT_SOURCES_CONF to all lines of the image's package sources." >&2
                exit 1
            fi
            export DIB_DEBIAN_SECURITY_MIRROR
            dib_debian_suite="$DIB_RELEASE-security${DIB_DEBIAN_SECURITY_SUBPATH:-}"
            DIB_APT_SOURCES_CONF+=$'\n'"updates:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE-updates $DIB_DEBIAN_COMPONENTS_WS"
            DIB_APT_SOURCES_CONF+=$'\n'"security:deb $DIB_DEBIAN_SECURITY_MIRROR $dib_debian_suite $DIB_DEBIAN_COMPONENTS_WS"
            ;;
    esac
fi
export DIB_APT_SOURCES_CONF
