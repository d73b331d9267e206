# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=rocky
export DIB_RELEASE="${DIB_RELEASE:-9}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/rocky"

# For yum-minimal; what lies where below a mirror has @ARCH@ for the architecture.
export DIB_RPM_RELEASE="$DIB_RELEASE" # what dnf calls releasever
case "$DIB_RPM_RELEASE" in
    8 | 8.* | 9 | 9.*) export DIB_RPM_DBPATH=/var/lib/rpm ;;
    *) export DIB_RPM_DBPATH=/usr/lib/sysimage/rpm ;;
esac
export DIB_RPM_PLATFORM="platform:el${DIB_RPM_RELEASE%%.*}"
export DIB_RPM_OWN_REPOSITORIES="rocky*.repo"
export DIB_RPM_DEFAULT_KEYS="/usr/share/distribution-gpg-keys/rocky/RPM-GPG-KEY-Rocky-${DIB_RPM_RELEASE%%.*}"
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_ROCKY_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="rocky-release rocky-repos util-linux"
DIB_RPM_LAYOUT="baseos $DIB_RELEASE/BaseOS/@ARCH@/os"
DIB_RPM_LAYOUT+=$'\n'"appstream $DIB_RELEASE/AppStream/@ARCH@/os"
dib_rocky_list="mirrorlist=https://mirrors.rockylinux.org/mirrorlist?arch=@ARCH@&repo"
DIB_RPM_MIRROR_LISTS="baseos $dib_rocky_list=BaseOS-$DIB_RPM_RELEASE repodata/repomd.xml"
DIB_RPM_MIRROR_LISTS+=$'\n'"appstream $dib_rocky_list=AppStream-$DIB_RPM_RELEASE repodata/repomd.xml"
export DIB_RPM_LAYOUT DIB_RPM_MIRROR_LISTS
