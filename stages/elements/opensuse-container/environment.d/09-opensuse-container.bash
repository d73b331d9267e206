# The distribution and the release whose official image the build begins with.
export DISTRO_NAME=opensuse
export DIB_RELEASE="${DIB_RELEASE:-16.0}"
