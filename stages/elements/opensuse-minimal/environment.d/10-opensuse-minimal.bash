# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/opensuse.yaml.
export DISTRO_NAME=opensuse
export DIB_RELEASE="${DIB_RELEASE:-16.0}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

if [ -z "$DIB_FACT_ARCHITECTURE" ]; then
    echo "opensuse-minimal: openSUSE is not made for $ARCH." >&2
    exit 1
fi

# For zypper-minimal; what lies where below a mirror.
export DIB_RPM_ARCHITECTURE="$DIB_FACT_ARCHITECTURE"
export DIB_RPM_DBPATH="$DIB_FACT_RPM_PATH"
export DIB_RPM_DEFAULT_KEYS="$DIB_FACT_KEY_FILES"
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_OPENSUSE_MIRROR:-$DIB_FACT_MIRROR}"
export DIB_RPM_LAYOUT="$DIB_FACT_LAYOUT"
DIB_RPM_RELEASE_PACKAGES="aaa_base bash coreutils filesystem findutils gawk grep gzip $DIB_FACT_PACKAGES_RELEASE"
DIB_RPM_RELEASE_PACKAGES+=" $DIB_FACT_PACKAGES_REPOSITORIES rpm sed shadow tar zypper"
export DIB_RPM_RELEASE_PACKAGES
case "$DIB_RELEASE/$ARCH" in
    tumbleweed/* | */amd64 | */x86_64 | */arm64 | */aarch64 | */ppc64el | */ppc64le | */s390x) ;;
    *)
        echo "opensuse-minimal: openSUSE Leap is not made for $ARCH; Tumbleweed is (DIB_RELEASE=tumbleweed)." >&2
        exit 1
        ;;
esac
