# The distribution and the release whose official image the build begins with.
export DISTRO_NAME=fedora
export DIB_RELEASE="${DIB_RELEASE:-44}"
