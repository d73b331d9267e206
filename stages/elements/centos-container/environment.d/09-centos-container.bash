# The distribution and the release whose official image the build begins with.
export DISTRO_NAME=centos
export DIB_RELEASE="${DIB_RELEASE:-9-stream}"
