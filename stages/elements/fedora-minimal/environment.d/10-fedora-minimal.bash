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
if [ "$DIB_RELEASE" = rawhide ]; then
    DIB_RPM_LAYOUT="rawhide development/rawhide/Everything/@ARCH@/os"
else
    DIB_RPM_LAYOUT="fedora releases/$DIB_RELEASE/Everything/@ARCH@/os"
    DIB_RPM_LAYOUT+=$'\n'"updates updates/$DIB_RELEASE/Everything/@ARCH@"
fi
export DIB_RPM_LAYOUT
