# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=fedora
export DIB_RELEASE="${DIB_RELEASE:-44}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/fedora"

# For yum-minimal; what lies where below a mirror has @ARCH@ for the architecture.
export DIB_RPM_RELEASE="$DIB_RELEASE" # what dnf calls releasever
export DIB_RPM_PLATFORM="platform:f$DIB_RELEASE"
export DIB_RPM_DBPATH=/usr/lib/sysimage/rpm
export DIB_RPM_OWN_REPOSITORIES="fedora*.repo"
export DIB_RPM_DEFAULT_KEYS="/usr/share/distribution-gpg-keys/fedora/RPM-GPG-KEY-fedora-$DIB_RELEASE-primary"
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_FEDORA_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="fedora-release fedora-repos util-linux-core"
export DIB_FEDORA_METALINK="${DIB_FEDORA_METALINK:-https://mirrors.fedoraproject.org/metalink}"
dib_fedora_metalink="metalink=$DIB_FEDORA_METALINK?arch=@ARCH@&repo"
if [ "$DIB_RELEASE" = rawhide ]; then
    DIB_RPM_MIRROR_LISTS="rawhide $dib_fedora_metalink=rawhide"
    DIB_RPM_LAYOUT="rawhide development/rawhide/Everything/@ARCH@/os"
else
    DIB_RPM_MIRROR_LISTS="fedora $dib_fedora_metalink=fedora-$DIB_RELEASE"
    DIB_RPM_MIRROR_LISTS+=$'\n'"updates $dib_fedora_metalink=updates-released-f$DIB_RELEASE"
    DIB_RPM_LAYOUT="fedora releases/$DIB_RELEASE/Everything/@ARCH@/os"
    DIB_RPM_LAYOUT+=$'\n'"updates updates/$DIB_RELEASE/Everything/@ARCH@"
fi
if [ "$ARCH" = riscv64 ]; then
    # Fedora's mirrors have none of it. What its builders make lies on a server of their own, in another layout, and nobody signs it.
    dib_fedora_builds="$DIB_RELEASE"
    [ "$DIB_RELEASE" = rawhide ] || dib_fedora_builds="f$DIB_RELEASE"
    DIB_RPM_MIRROR_LISTS=""
    DIB_RPM_LAYOUT="fedora repos-dist/$dib_fedora_builds/latest/@ARCH@"
    if [ -z "${DIB_DISTRIBUTION_MIRROR:-}${DIB_CTR_FEDORA_MIRROR:-}${DIB_YUM_MINIMAL_BOOTSTRAP_REPOS:-}" ]; then
        echo "fedora-minimal: Fedora's mirrors have nothing for riscv64. Its packages lie below" \
            "https://riscv-koji.fedoraproject.org/repos-dist/$dib_fedora_builds/latest/riscv64 and are signed by nobody, and unsigned" \
            "packages are not installed. Sign a copy of that folder with a key of your own, and set DIB_DISTRIBUTION_MIRROR to the" \
            "folder that has repos-dist, and DIB_RPM_KEYS to the key." >&2
        exit 1
    fi
fi
export DIB_RPM_LAYOUT DIB_RPM_MIRROR_LISTS
