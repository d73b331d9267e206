# The distribution and the release whose official image the build begins with.
export DISTRO_NAME=rocky
export DIB_RELEASE="${DIB_RELEASE:-9}"
