# The distribution and the release whose official image the build begins with.
export DISTRO_NAME=alpine
export DIB_RELEASE="${DIB_RELEASE:-v3.23}"
