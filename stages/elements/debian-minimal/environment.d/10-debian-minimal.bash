# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/debian.yaml.
export DISTRO_NAME=debian
export DIB_RELEASE="${DIB_RELEASE:-trixie}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

export DIB_DEBIAN_COMPONENTS="${DIB_DEBIAN_COMPONENTS:-${DIB_FACT_COMPONENTS// /,}}"
export DIB_DEBIAN_COMPONENTS_WS="${DIB_DEBIAN_COMPONENTS//,/ }"
export DIB_APT_DEFAULT_KEYRING="$DIB_FACT_KEYRING"

DIB_DISTRIBUTION_MIRROR="${DIB_DEBIAN_DISTRIBUTION_MIRROR:-${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_DEBIAN_MIRROR:-}}}"
if [ -n "$DIB_DISTRIBUTION_MIRROR" ]; then
    export DIB_DISTRIBUTION_MIRROR
fi

if [ -z "${DIB_APT_SOURCES_CONF:-}" ]; then
    if [ -z "$DIB_DISTRIBUTION_MIRROR" ]; then
        echo "debian-minimal: no mirror is known; set DIB_DISTRIBUTION_MIRROR to the address of a Debian mirror." >&2
        exit 1
    fi
    DIB_APT_SOURCES_CONF="default:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE $DIB_DEBIAN_COMPONENTS_WS"
    for dib_debian_suite in $DIB_FACT_SUITES; do
        if [ "$dib_debian_suite" != "$DIB_RELEASE" ]; then
            DIB_APT_SOURCES_CONF+=$'\n'"${dib_debian_suite#"$DIB_RELEASE-"}:deb $DIB_DISTRIBUTION_MIRROR"
            DIB_APT_SOURCES_CONF+=" $dib_debian_suite $DIB_DEBIAN_COMPONENTS_WS"
        fi
    done
    if [ -n "$DIB_FACT_SECURITY_SUITE" ]; then
        DIB_DEBIAN_SECURITY_MIRROR="${DIB_DEBIAN_SECURITY_MIRROR:-${DIB_CTR_DEBIAN_SECURITY_MIRROR:-}}"
        if [ -z "$DIB_DEBIAN_SECURITY_MIRROR" ]; then
            echo "debian-minimal: no mirror of security updates is known; set DIB_DEBIAN_SECURITY_MIRROR to its" \
                "address, or DIB_APT_SOURCES_CONF to all lines of the image's package sources." >&2
            exit 1
        fi
        export DIB_DEBIAN_SECURITY_MIRROR
        dib_debian_suite="$DIB_FACT_SECURITY_SUITE${DIB_DEBIAN_SECURITY_SUBPATH:-}"
        DIB_APT_SOURCES_CONF+=$'\n'"security:deb $DIB_DEBIAN_SECURITY_MIRROR $dib_debian_suite $DIB_DEBIAN_COMPONENTS_WS"
    fi
fi
export DIB_APT_SOURCES_CONF
