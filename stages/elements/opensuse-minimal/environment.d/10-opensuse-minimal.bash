# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=opensuse
export DIB_RELEASE="${DIB_RELEASE:-16.0}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/opensuse"

case "$ARCH" in
    amd64 | x86_64) export DIB_RPM_ARCHITECTURE=x86_64 dib_opensuse_port="" ;;
    arm64 | aarch64) export DIB_RPM_ARCHITECTURE=aarch64 dib_opensuse_port=aarch64 ;;
    ppc64el | ppc64le) export DIB_RPM_ARCHITECTURE=ppc64le dib_opensuse_port=ppc ;;
    riscv64) export DIB_RPM_ARCHITECTURE=riscv64 dib_opensuse_port=riscv ;;
    s390x) export DIB_RPM_ARCHITECTURE=s390x dib_opensuse_port=zsystems ;;
    armhf) export DIB_RPM_ARCHITECTURE=armv7hl dib_opensuse_port=armv7hl ;;
    i386) export DIB_RPM_ARCHITECTURE=i686 dib_opensuse_port=i586 ;;
    *)
        echo "opensuse-minimal: openSUSE is not made for $ARCH." >&2
        exit 1
        ;;
esac

# For zypper-minimal; what lies where below a mirror.
export DIB_RPM_DBPATH=/usr/lib/sysimage/rpm
dib_opensuse_keys=/usr/share/distribution-gpg-keys
DIB_RPM_DEFAULT_KEYS="$dib_opensuse_keys/opensuse/RPM-GPG-KEY-openSUSE-2022"
dib_opensuse_release=openSUSE-release
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_OPENSUSE_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="aaa_base bash coreutils filesystem findutils gawk grep gzip @RELEASE@ openSUSE-repos rpm sed shadow tar zypper"
case "$DIB_RELEASE" in
    tumbleweed)
        if [ -n "$dib_opensuse_port" ]; then
            DIB_RPM_LAYOUT="repo-oss ports/$dib_opensuse_port/tumbleweed/repo/oss"
            DIB_RPM_LAYOUT+=$'\n'"repo-update ports/$dib_opensuse_port/update/tumbleweed"
        else
            DIB_RPM_LAYOUT="repo-oss tumbleweed/repo/oss"
            DIB_RPM_LAYOUT+=$'\n'"repo-update update/tumbleweed"
        fi
        ;;
    15.*)
        DIB_RPM_LAYOUT="repo-oss distribution/leap/$DIB_RELEASE/repo/oss"
        for dib_opensuse_part in oss backports sle; do
            DIB_RPM_LAYOUT+=$'\n'"update-$dib_opensuse_part update/leap/$DIB_RELEASE/$dib_opensuse_part"
        done
        # Half of its packages are SUSE's own, with SUSE's signature.
        DIB_RPM_DEFAULT_KEYS+=" $dib_opensuse_keys/opensuse/RPM-GPG-KEY-openSUSE-Backports-2023"
        DIB_RPM_DEFAULT_KEYS+=" $dib_opensuse_keys/suse/RPM-GPG-KEY-SuSE-SLE-15"
        DIB_RPM_DEFAULT_KEYS+=" $dib_opensuse_keys/suse/RPM-GPG-KEY-SuSE-SLE-Main-2023"
        ;;
    *)
        # Since 16 each architecture has a repository of its own, which updates are in, too.
        DIB_RPM_LAYOUT="repo-oss distribution/leap/$DIB_RELEASE/repo/oss/$DIB_RPM_ARCHITECTURE"
        DIB_RPM_DEFAULT_KEYS+=" $dib_opensuse_keys/opensuse/RPM-GPG-KEY-openSUSE-16-Backports"
        DIB_RPM_DEFAULT_KEYS+=" $dib_opensuse_keys/suse/RPM-GPG-KEY-SuSE-ALP-Main"
        dib_opensuse_release=Leap-release
        ;;
esac
export DIB_RPM_LAYOUT DIB_RPM_DEFAULT_KEYS
DIB_RPM_RELEASE_PACKAGES="${DIB_RPM_RELEASE_PACKAGES/@RELEASE@/$dib_opensuse_release}"
case "$DIB_RELEASE/$ARCH" in
    tumbleweed/* | */amd64 | */x86_64 | */arm64 | */aarch64 | */ppc64el | */ppc64le | */s390x) ;;
    *)
        echo "opensuse-minimal: openSUSE Leap is not made for $ARCH; Tumbleweed is (DIB_RELEASE=tumbleweed)." >&2
        exit 1
        ;;
esac
