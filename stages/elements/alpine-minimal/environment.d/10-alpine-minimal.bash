# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=alpine
export DIB_RELEASE="${DIB_RELEASE:-v3.23}"
case "$DIB_RELEASE" in
    [0-9]*) DIB_RELEASE="v$DIB_RELEASE" ;; # the folder's name on a mirror
esac
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-openrc}"
export EFI_BOOT_DIR="EFI/alpine"
export DIB_ALPINE_REPOSITORIES="${DIB_ALPINE_REPOSITORIES:-main community}"

case "$ARCH" in
    amd64 | x86_64) DIB_ALPINE_ARCH=x86_64 ;;
    arm64 | aarch64) DIB_ALPINE_ARCH=aarch64 ;;
    armhf | armv7l) DIB_ALPINE_ARCH=armv7 ;; # what Alpine calls armhf is ARMv6
    i386 | i686) DIB_ALPINE_ARCH=x86 ;;
    ppc64el | ppc64le) DIB_ALPINE_ARCH=ppc64le ;;
    loongarch64 | riscv64 | s390x) DIB_ALPINE_ARCH="$ARCH" ;;
    *)
        echo "alpine-minimal: Alpine Linux has no architecture '$ARCH'; it has amd64, arm64, armhf, i386, loongarch64," \
            "ppc64el, riscv64 and s390x." >&2
        exit 1
        ;;
esac
export DIB_ALPINE_ARCH

DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_ALPINE_MIRROR:-}}"
if [ -z "$DIB_DISTRIBUTION_MIRROR" ]; then
    echo "alpine-minimal: no mirror is known; set DIB_DISTRIBUTION_MIRROR to the address of a mirror of Alpine Linux" \
        "(the folder that has v3.23 and edge)." >&2
    exit 1
fi
export DIB_DISTRIBUTION_MIRROR
DIB_CTR_REPOSITORIES=""
for dib_alpine_repository in $DIB_ALPINE_REPOSITORIES; do
    DIB_CTR_REPOSITORIES+="$dib_alpine_repository ${DIB_DISTRIBUTION_MIRROR%/}/$DIB_RELEASE/$dib_alpine_repository"
    DIB_CTR_REPOSITORIES+="/$DIB_ALPINE_ARCH/APKINDEX.tar.gz"$'\n'
done
export DIB_CTR_REPOSITORIES
