# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=centos
export DIB_RELEASE="${DIB_RELEASE:-9-stream}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/centos"

# For yum-minimal; what lies where below a mirror has @ARCH@ for the architecture.
DIB_RELEASE="${DIB_RELEASE%-stream}-stream"
export DIB_RPM_RELEASE="${DIB_RELEASE%-stream}" # what dnf calls releasever
case "$DIB_RPM_RELEASE" in
    8 | 8.* | 9 | 9.*) export DIB_RPM_DBPATH=/var/lib/rpm ;;
    *) export DIB_RPM_DBPATH=/usr/lib/sysimage/rpm ;;
esac
export DIB_RPM_PLATFORM="platform:el${DIB_RPM_RELEASE%%.*}"
export DIB_RPM_OWN_REPOSITORIES="centos*.repo"
case "$DIB_RPM_RELEASE" in
    8 | 9) export DIB_RPM_DEFAULT_KEYS=/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official ;;
    *) export DIB_RPM_DEFAULT_KEYS=/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official-SHA256 ;;
esac
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_CENTOS_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="centos-stream-release centos-stream-repos util-linux"
DIB_RPM_LAYOUT="baseos $DIB_RELEASE/BaseOS/@ARCH@/os"
DIB_RPM_LAYOUT+=$'\n'"appstream $DIB_RELEASE/AppStream/@ARCH@/os"
dib_centos_metalink="metalink=https://mirrors.centos.org/metalink?arch=@ARCH@&protocol=https,http&repo"
DIB_RPM_MIRROR_LISTS="baseos $dib_centos_metalink=centos-baseos-$DIB_RELEASE"
DIB_RPM_MIRROR_LISTS+=$'\n'"appstream $dib_centos_metalink=centos-appstream-$DIB_RELEASE"
export DIB_RPM_LAYOUT DIB_RPM_MIRROR_LISTS
