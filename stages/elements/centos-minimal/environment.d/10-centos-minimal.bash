# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/redhat.yaml.
export DISTRO_NAME=centos
export DIB_RELEASE="${DIB_RELEASE:-9-stream}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

# For yum-minimal, which takes all else from the facts.
DIB_RELEASE="${DIB_RELEASE%-stream}-stream"
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_CENTOS_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="$DIB_FACT_PACKAGES_RELEASE util-linux"
