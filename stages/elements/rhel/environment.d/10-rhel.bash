# What every other element asks about this operating system, and where its packages come from.
export DISTRO_NAME=rhel
export DIB_RELEASE="${DIB_RELEASE:-9}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}"
export EFI_BOOT_DIR="EFI/redhat"

# For yum-minimal; what lies where below a mirror has @ARCH@ for the architecture.
export DIB_RPM_RELEASE="$DIB_RELEASE" # what dnf calls releasever
case "$DIB_RPM_RELEASE" in
    8 | 8.* | 9 | 9.*) export DIB_RPM_DBPATH=/var/lib/rpm ;;
    *) export DIB_RPM_DBPATH=/usr/lib/sysimage/rpm ;;
esac
export DIB_RPM_PLATFORM="platform:el${DIB_RPM_RELEASE%%.*}"
export DIB_RPM_OWN_REPOSITORIES="ubi*.repo"
export DIB_RPM_DEFAULT_KEYS="/usr/share/distribution-gpg-keys/redhat/RPM-GPG-KEY-redhat${DIB_RPM_RELEASE%%.*}-release"
# Since 10 there is a key beside it of a kind that Debian's rpm cannot read.
[ "${DIB_RPM_RELEASE%%.*}" -lt 10 ] || DIB_RPM_DEFAULT_KEYS+=-without-PQC
export DIB_RPM_DEFAULT_MIRROR="" # there is none for everybody
export DIB_RPM_RELEASE_PACKAGES="redhat-release subscription-manager util-linux"
DIB_RPM_LAYOUT="baseos @ARCH@/baseos/os"
DIB_RPM_LAYOUT+=$'\n'"appstream @ARCH@/appstream/os"
export DIB_RPM_LAYOUT
