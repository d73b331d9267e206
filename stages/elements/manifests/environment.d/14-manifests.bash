# Where manifests lie in the image, and where they are left beside it.
export DIB_MANIFEST_IMAGE_DIR="${DIB_MANIFEST_IMAGE_DIR:-/etc/dib-manifests}"
export DIB_MANIFEST_SAVE_DIR="${DIB_MANIFEST_SAVE_DIR:-${IMAGE_NAME}.d/}"
