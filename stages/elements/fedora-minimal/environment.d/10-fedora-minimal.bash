# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/fedora.yaml.
export DISTRO_NAME=fedora
export DIB_RELEASE="${DIB_RELEASE:-44}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

# For yum-minimal, which takes all else from the facts.
export DIB_RPM_DEFAULT_MIRROR="${DIB_CTR_FEDORA_MIRROR:-}"
export DIB_RPM_RELEASE_PACKAGES="$DIB_FACT_PACKAGES_RELEASE util-linux-core"
export DIB_FEDORA_METALINK="${DIB_FEDORA_METALINK:-$DIB_FACT_METALINK}"
export DIB_RPM_MIRROR_LISTS="${DIB_FACT_LISTS//"$DIB_FACT_METALINK"/"$DIB_FEDORA_METALINK"}"
if [ -n "$DIB_FACT_UNSIGNED" ] && [ -z "${DIB_DISTRIBUTION_MIRROR:-}${DIB_CTR_FEDORA_MIRROR:-}${DIB_YUM_MINIMAL_BOOTSTRAP_REPOS:-}" ]; then
    read -r _ dib_fedora_path <<< "$DIB_FACT_LAYOUT"
    echo "fedora-minimal: Fedora's mirrors have nothing for $ARCH. Its packages lie below" \
        "$DIB_FACT_UNSIGNED/$dib_fedora_path and are signed by nobody, and unsigned packages are not installed. Sign a copy of" \
        "that folder with a key of your own, and set DIB_DISTRIBUTION_MIRROR to the folder that has ${dib_fedora_path%%/*}, and" \
        "DIB_RPM_KEYS to the key." >&2
    exit 1
fi
