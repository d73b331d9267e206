# The package sources and the keys that the bootstrap and the build use; the operating system's element knows the defaults.
export DIB_RPM_KEYS="${DIB_RPM_KEYS:-${DIB_RPM_DEFAULT_KEYS:-}}"
export DIB_OPENSUSE_PATTERNS="${DIB_OPENSUSE_PATTERNS:-}"
export DIB_OPENSUSE_BASE_PACKAGES="${DIB_OPENSUSE_BASE_PACKAGES:-$DIB_RPM_RELEASE_PACKAGES} $DIB_OPENSUSE_PATTERNS"
DIB_CTR_REPOSITORIES=""
DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_RPM_DEFAULT_MIRROR:-}}"
if [ -n "${DIB_ZYPPER_REPOS:-}" ]; then
    # Package sources of one's own, NAME=>ADDRESS each, take the place of the distribution's.
    for dib_zypper_repo in $DIB_ZYPPER_REPOS; do
        dib_zypper_address="${dib_zypper_repo#*=>}"
        DIB_CTR_REPOSITORIES+="${dib_zypper_repo%%=>*} ${dib_zypper_address%/}/repodata/repomd.xml"$'\n'
    done
elif [ -n "$DIB_DISTRIBUTION_MIRROR" ]; then
    export DIB_DISTRIBUTION_MIRROR
    while read -r dib_rpm_name dib_rpm_path; do
        DIB_CTR_REPOSITORIES+="$dib_rpm_name ${DIB_DISTRIBUTION_MIRROR%/}/$dib_rpm_path/repodata/repomd.xml"$'\n'
    done <<< "$DIB_RPM_LAYOUT"
fi
export DIB_CTR_REPOSITORIES
if [ -z "$DIB_CTR_REPOSITORIES" ]; then
    read -r _ dib_rpm_path <<< "$DIB_RPM_LAYOUT"
    echo "zypper-minimal: no mirror of $DISTRO_NAME is known; set DIB_DISTRIBUTION_MIRROR to the address of one for $ARCH: the" \
        "folder that has $dib_rpm_path." >&2
    exit 1
fi
