# Which keys vouch for packages, and what the bootstrap installs.
: "${DIB_FACT_KEY_FILES=}" # nothing is known where the build begins with an image
export DIB_ALPINE_KEYS="${DIB_ALPINE_KEYS:-${DIB_FACT_KEY_FILES%/*}}"
# Scripts of elements are bash's, and use options of the GNU tools that busybox does not have.
export DIB_ALPINE_BASE_PACKAGES="${DIB_ALPINE_BASE_PACKAGES:-alpine-baselayout alpine-keys alpine-release apk-tools bash busybox coreutils findutils libc-utils tar}"
