# What is known of the release, unless the operating system's element has said otherwise.
export DIB_RPM_RELEASE="${DIB_RPM_RELEASE:-${DIB_FACT_NUMBER:-}}" # what dnf calls releasever
export DIB_RPM_PLATFORM="${DIB_RPM_PLATFORM:-${DIB_FACT_RPM_PLATFORM:-}}"
export DIB_RPM_DBPATH="${DIB_RPM_DBPATH:-${DIB_FACT_RPM_PATH:-}}"
export DIB_RPM_OWN_REPOSITORIES="${DIB_RPM_OWN_REPOSITORIES:-${DIB_FACT_OWN_REPOSITORIES:-}}"
export DIB_RPM_DEFAULT_KEYS="${DIB_RPM_DEFAULT_KEYS:-${DIB_FACT_KEY_FILES:-}}"
export DIB_RPM_LAYOUT="${DIB_RPM_LAYOUT:-${DIB_FACT_LAYOUT:-}}"
export DIB_RPM_MIRROR_LISTS="${DIB_RPM_MIRROR_LISTS:-${DIB_FACT_LISTS:-}}"

# The package sources and the keys that the bootstrap and the build use; the operating system's element knows the defaults.
export DIB_YUM_MINIMAL_BOOTSTRAP_REPOS="${DIB_YUM_MINIMAL_BOOTSTRAP_REPOS:-}"
export DIB_YUM_MINIMAL_EXTRA_REPOS="${DIB_YUM_MINIMAL_EXTRA_REPOS:-}"
export DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES="${DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES:-}"
export DIB_RPM_KEYS="${DIB_RPM_KEYS:-${DIB_RPM_DEFAULT_KEYS:-}}"
export DIB_SELINUX_MODE="${DIB_SELINUX_MODE:-permissive}"
case "$DIB_SELINUX_MODE" in
    enforcing | permissive | disabled) ;;
    *)
        echo "yum-minimal: DIB_SELINUX_MODE is '$DIB_SELINUX_MODE'; expected enforcing, permissive or disabled." >&2
        exit 1
        ;;
esac

case "$ARCH" in
    amd64 | x86_64) export DIB_RPM_ARCHITECTURE=x86_64 ;;
    arm64 | aarch64) export DIB_RPM_ARCHITECTURE=aarch64 ;;
    ppc64el | ppc64le) export DIB_RPM_ARCHITECTURE=ppc64le ;;
    riscv64 | s390x) export DIB_RPM_ARCHITECTURE="$ARCH" ;;
    *)
        echo "yum-minimal: ${DISTRO_NAME:-this distribution} is not made for $ARCH; expected amd64, arm64, ppc64el or s390x." >&2
        exit 1
        ;;
esac
DIB_CTR_REPOSITORIES=""
DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_RPM_DEFAULT_MIRROR:-}}"
if [ -n "$DIB_DISTRIBUTION_MIRROR" ]; then
    export DIB_DISTRIBUTION_MIRROR
    while read -r dib_rpm_name dib_rpm_path; do
        dib_rpm_path="${dib_rpm_path//@ARCH@/$DIB_RPM_ARCHITECTURE}"
        DIB_CTR_REPOSITORIES+="$dib_rpm_name ${DIB_DISTRIBUTION_MIRROR%/}/$dib_rpm_path/repodata/repomd.xml"$'\n'
    done <<< "$DIB_RPM_LAYOUT"
else
    # The distribution's own lists of mirrors: the build chooses one, by the state that the list says is the newest.
    while read -r dib_rpm_name dib_rpm_list; do
        if [ -n "$dib_rpm_name" ]; then
            DIB_CTR_REPOSITORIES+="$dib_rpm_name ${dib_rpm_list//@ARCH@/$DIB_RPM_ARCHITECTURE}"$'\n'
        fi
    done <<< "${DIB_RPM_MIRROR_LISTS:-}"
fi
if [ -n "$DIB_YUM_MINIMAL_BOOTSTRAP_REPOS" ]; then
    # Files of one's own take the place of the distribution's package sources: each enabled one counts as part of the keys.
    if ! compgen -G "$DIB_YUM_MINIMAL_BOOTSTRAP_REPOS/*.repo" > /dev/null; then
        echo "yum-minimal: DIB_YUM_MINIMAL_BOOTSTRAP_REPOS is '$DIB_YUM_MINIMAL_BOOTSTRAP_REPOS'; expected a folder with" \
            "*.repo files that the build can see." >&2
        exit 1
    fi
    DIB_CTR_REPOSITORIES="$(
        awk -v release="$DIB_RPM_RELEASE" -v arch="$DIB_RPM_ARCHITECTURE" '
            function tell() {
                if (name != "" && enabled && index_ != "") print name, index_
                index_ = ""; enabled = 1
            }
            { gsub(/\$releasever/, release); gsub(/\$basearch/, arch) }
            /^\[/ { tell(); name = $0; gsub(/[][[:space:]]/, "", name) }
            /^enabled *= *(0|[Ff]alse|no) *$/ { enabled = 0 }
            /^baseurl *=/ { sub(/^[^=]*= */, ""); sub(/[, ].*/, ""); sub(/\/*$/, ""); index_ = $0 "/repodata/repomd.xml" }
            /^metalink *=/ { sub(/^[^=]*= */, ""); if (index_ == "") index_ = "metalink=" $0 }
            /^mirrorlist *=/ { sub(/^[^=]*= */, ""); if (index_ == "") index_ = "mirrorlist=" $0 " repodata/repomd.xml" }
            END { tell() }
        ' "$DIB_YUM_MINIMAL_BOOTSTRAP_REPOS"/*.repo
    )"
fi
export DIB_CTR_REPOSITORIES
if [ -z "$DIB_CTR_REPOSITORIES" ]; then
    read -r _ dib_rpm_path <<< "$DIB_RPM_LAYOUT"
    echo "yum-minimal: no mirror of $DISTRO_NAME is known; set DIB_DISTRIBUTION_MIRROR to the address of one for $ARCH: the" \
        "folder that has ${dib_rpm_path//@ARCH@/$DIB_RPM_ARCHITECTURE}." >&2
    exit 1
fi
if [ -z "$DIB_RPM_KEYS" ]; then
    echo "yum-minimal: no keys are known; set DIB_RPM_KEYS to the files with the packages' public keys." >&2
    exit 1
fi
