# What every other element asks about this operating system, and where its packages come from. What is known of its releases
# (DIB_FACT_*) stands in stages/distributions/redhat.yaml.
export DISTRO_NAME=rhel
export DIB_RELEASE="${DIB_RELEASE:-9}"
export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

# For yum-minimal, which takes all else from the facts.
export DIB_RPM_DEFAULT_MIRROR=""
export DIB_RPM_RELEASE_PACKAGES="$DIB_FACT_PACKAGES_RELEASE util-linux"
# What Red Hat gives to everybody: the universal base image's repositories, by the names that they have in its own ubi.repo.
DIB_RPM_MIRROR_LISTS=""
while read -r dib_rhel_name dib_rhel_path; do
    DIB_RPM_MIRROR_LISTS+="$dib_rhel_name $DIB_FACT_UBI_MIRROR/$dib_rhel_path/repodata/repomd.xml"$'\n'
done <<< "$DIB_FACT_LAYOUT"
export DIB_RPM_MIRROR_LISTS DIB_RHEL_UBI_MIRROR="$DIB_FACT_UBI_MIRROR"
