# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/alpine.yaml.
export DISTRO_NAME=alpine
export DIB_RELEASE="${DIB_RELEASE:-v3.23}"
case "$DIB_RELEASE" in
    [0-9]*) DIB_RELEASE="v$DIB_RELEASE" ;; # the folder's name on a mirror
esac
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"
export DIB_ALPINE_REPOSITORIES="${DIB_ALPINE_REPOSITORIES:-$DIB_FACT_REPOSITORIES}"

if [ -z "$DIB_FACT_ARCHITECTURE" ]; then
    echo "alpine-minimal: Alpine Linux has no architecture '$ARCH'; it has amd64, arm64, armhf, i386, ppc64el, riscv64 and s390x." >&2
    exit 1
fi
export DIB_ALPINE_ARCH="$DIB_FACT_ARCHITECTURE"

export DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_ALPINE_MIRROR:-$DIB_FACT_MIRROR}}"
DIB_CTR_REPOSITORIES=""
for dib_alpine_repository in $DIB_ALPINE_REPOSITORIES; do
    DIB_CTR_REPOSITORIES+="$dib_alpine_repository ${DIB_DISTRIBUTION_MIRROR%/}/$DIB_RELEASE/$dib_alpine_repository"
    DIB_CTR_REPOSITORIES+="/$DIB_ALPINE_ARCH/APKINDEX.tar.gz"$'\n'
done
export DIB_CTR_REPOSITORIES
