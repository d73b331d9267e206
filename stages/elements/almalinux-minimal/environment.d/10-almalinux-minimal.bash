# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=almalinux
export DIB_RELEASE="${DIB_RELEASE:-9}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/almalinux"

# For yum-minimal; what lies where below a mirror has @ARCH@ for the architecture.
export DIB_RPM_RELEASE="$DIB_RELEASE" # what dnf calls releasever
case "$DIB_RPM_RELEASE" in
    8 | 8.* | 9 | 9.*) export DIB_RPM_DBPATH=/var/lib/rpm ;;
    *) export DIB_RPM_DBPATH=/usr/lib/sysimage/rpm ;;
esac
export DIB_RPM_PLATFORM="platform:el${DIB_RPM_RELEASE%%.*}"
export DIB_RPM_OWN_REPOSITORIES="almalinux*.repo"
export DIB_RPM_DEFAULT_KEYS="/usr/share/distribution-gpg-keys/alma/RPM-GPG-KEY-AlmaLinux-${DIB_RPM_RELEASE%%.*}"
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_ALMALINUX_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="almalinux-release almalinux-repos util-linux"
DIB_RPM_LAYOUT="baseos $DIB_RELEASE/BaseOS/@ARCH@/os"
DIB_RPM_LAYOUT+=$'\n'"appstream $DIB_RELEASE/AppStream/@ARCH@/os"
# (Its list has $basearch in the addresses, for dnf to fill in.)
dib_almalinux_list="mirrorlist=https://mirrors.almalinux.org/mirrorlist/$DIB_RPM_RELEASE"
DIB_RPM_MIRROR_LISTS="baseos $dib_almalinux_list/baseos repodata/repomd.xml basearch=@ARCH@"
DIB_RPM_MIRROR_LISTS+=$'\n'"appstream $dib_almalinux_list/appstream repodata/repomd.xml basearch=@ARCH@"
export DIB_RPM_LAYOUT DIB_RPM_MIRROR_LISTS
