# What every other element asks about this operating system, and where its packages come from. What is known of it (DIB_FACT_*)
# stands in stages/distributions/gentoo.yaml.
export DISTRO_NAME=gentoo
export DIB_RELEASE="${DIB_RELEASE:-gentoo}"
export EFI_BOOT_DIR="$DIB_FACT_EFI"

if [ -z "$DIB_FACT_ARCHITECTURE" ]; then
    echo "gentoo: there is no stage 3 for $ARCH; one of amd64, arm64, armhf, i386, ppc64el, riscv64, s390x." >&2
    exit 1
fi

# The profile: of it follow the init system and the stage 3.
export GENTOO_BASE_PROFILE="default/linux/$DIB_FACT_ARCHITECTURE_PROFILE"
dib_gentoo_profile="$GENTOO_BASE_PROFILE"
if [ "${DIB_INIT_SYSTEM:-}" = systemd ]; then
    dib_gentoo_profile+=/systemd
fi
export GENTOO_PROFILE="${GENTOO_PROFILE:-$dib_gentoo_profile}"
case "/$GENTOO_PROFILE/" in
    */systemd/*) export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-systemd}" ;;
    *) export DIB_INIT_SYSTEM="${DIB_INIT_SYSTEM:-$DIB_FACT_INIT}" ;;
esac
if [ -z "${GENTOO_STAGE3:-}" ]; then
    case "$GENTOO_PROFILE/" in
        "$GENTOO_BASE_PROFILE"/*) ;;
        *)
            echo "gentoo: GENTOO_PROFILE is '$GENTOO_PROFILE'; for $ARCH it begins with $GENTOO_BASE_PROFILE." \
                "For another one name its stage 3, too (GENTOO_STAGE3, as amd64-musl-hardened)." >&2
            exit 1
            ;;
    esac
    dib_gentoo_parts="/${GENTOO_PROFILE#"$GENTOO_BASE_PROFILE"}/"
    GENTOO_STAGE3="$DIB_FACT_ARCHITECTURE_STAGE3"
    for dib_gentoo_part in musl llvm hardened no-multilib selinux desktop; do
        case "$dib_gentoo_parts" in
            */"$dib_gentoo_part"/*) GENTOO_STAGE3+="-${dib_gentoo_part//no-multilib/nomultilib}" ;;
        esac
    done
    case "$dib_gentoo_parts" in
        */systemd/*) GENTOO_STAGE3+=-systemd ;;
        */musl/*) ;;
        *) GENTOO_STAGE3+=-openrc ;;
    esac
    case "$dib_gentoo_parts" in
        */split-usr/*) GENTOO_STAGE3+=-splitusr ;;
    esac
fi
export GENTOO_STAGE3

# Where things lie.
DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-${DIB_CTR_GENTOO_MIRROR:-}}"
if [ -z "$DIB_DISTRIBUTION_MIRROR" ]; then
    echo "gentoo: no mirror is known; set DIB_DISTRIBUTION_MIRROR to the address of one: the folder that has releases," \
        "snapshots and distfiles." >&2
    exit 1
fi
export DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR%/}"
dib_gentoo_autobuilds="$DIB_DISTRIBUTION_MIRROR/releases/$DIB_FACT_ARCHITECTURE/autobuilds"
case "$DIB_RELEASE" in
    gentoo)
        dib_gentoo_list="$dib_gentoo_autobuilds/latest-stage3-$GENTOO_STAGE3.txt"
        dib_gentoo_snapshot=gentoo-latest
        ;;
    # One stage 3, and the ebuilds of its day.
    20[0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z)
        dib_gentoo_list="$dib_gentoo_autobuilds/$DIB_RELEASE/stage3-$GENTOO_STAGE3-$DIB_RELEASE.tar.xz.DIGESTS"
        dib_gentoo_snapshot="gentoo-${DIB_RELEASE%%T*}"
        ;;
    *)
        echo "gentoo: DIB_RELEASE is '$DIB_RELEASE'; expected gentoo (the newest), or the time of a stage 3 that the mirror keeps" \
            "as 20261101T170101Z." >&2
        exit 1
        ;;
esac
export DIB_CLOUD_SOURCE="${DIB_CLOUD_SOURCE:-$dib_gentoo_list}"
export DIB_GENTOO_SNAPSHOT="$DIB_DISTRIBUTION_MIRROR/snapshots/$dib_gentoo_snapshot.tar.xz"
dib_gentoo_binhost="$DIB_DISTRIBUTION_MIRROR/releases/$DIB_FACT_ARCHITECTURE/binpackages/23.0/$DIB_FACT_ARCHITECTURE_BINHOST"
case "/$GENTOO_PROFILE/" in
    */musl/* | */llvm/*) dib_gentoo_binhost=none ;; # these have packages of their own, in folders that are not known here
esac
export GENTOO_BINHOST="${GENTOO_BINHOST:-$dib_gentoo_binhost}"

# Who signs it: no package of the build image has Gentoo's keys.
DIB_GENTOO_KEYS="${DIB_GENTOO_KEYS:-$DIB_FACT_KEY_FILES}"
export DIB_GENTOO_KEYS

export GENTOO_PORTAGE_CLEANUP="${GENTOO_PORTAGE_CLEANUP:-True}"
export GENTOO_PYTHON_TARGETS="${GENTOO_PYTHON_TARGETS:-}"
export GENTOO_OVERLAYS="${GENTOO_OVERLAYS:-}"
export GENTOO_EMERGE_DEFAULT_OPTS="${GENTOO_EMERGE_DEFAULT_OPTS:---binpkg-respect-use=y --binpkg-changed-deps=y --usepkg=y --with-bdeps=n --autounmask=n}"
# A list of assignments, an array where an element's script made one; scripts get it as lines.
dib_gentoo_emerge_env="$(printf '%s\n' "${GENTOO_EMERGE_ENV[@]-USE=\"-build\"}")"
unset GENTOO_EMERGE_ENV
export GENTOO_EMERGE_ENV="$dib_gentoo_emerge_env"

DIB_CTR_REPOSITORIES="stage3 $DIB_CLOUD_SOURCE"$'\n'"ebuilds $DIB_GENTOO_SNAPSHOT.gpgsig"
if [ "$GENTOO_BINHOST" != none ]; then
    DIB_CTR_REPOSITORIES+=$'\n'"binhost ${GENTOO_BINHOST%/}/Packages"
fi
export DIB_CTR_REPOSITORIES
