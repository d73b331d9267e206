#!/bin/bash
# Try the README's first command on fresh Debian machines: tests/fresh-machine.sh [SUITE...] (default: bookworm trixie)
#
# For each suite, as root and as an ordinary user with sudo: a minimal root file system (no Python, no sudo for root) made
# with mmdebstrap, a clone of this checkout's last commit in it, and the command run twice with that file system as its root
# in mount and pid namespaces of its own. Needs root, git and mmdebstrap. Mirrors, proxies and certificates are this machine's.
#
# FRESH_COMMAND is another command, run in the clone (default: ./run dib-ctr build --output oci debian-minimal); FRESH_PACKAGES
# what the machine has already; FRESH_USERS a choice of "root person"; FRESH_ROOTS a folder that keeps SUITE.tar between runs.
# Ubuntu is not tried: its archive may not be reachable from where this machine finds Debian's.

set -eu -o pipefail

read -r -a command <<<"${FRESH_COMMAND:-./run dib-ctr build --output oci debian-minimal}"
read -r -a packages <<<"${FRESH_PACKAGES-}"
read -r -a users <<<"${FRESH_USERS:-root person}"
suites=("$@")
((${#suites[@]})) || suites=(bookworm trixie)
checkout=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d "${TMPDIR:-/tmp}/fresh-machine.XXXXXX")
roots=${FRESH_ROOTS:-$work}
trap 'rm -rf --one-file-system "$work"' EXIT

((EUID == 0)) || { echo "fresh-machine: needs root, to make users and to mount" >&2; exit 2; }

# This machine's apt sources for another suite, as one file.
sources_for() { # SUITE FILE
    local own
    own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # Blank lines keep the stanzas of several files apart.
    find /etc/apt/sources.list.d -name '*.sources' -exec sed -s -e "\$G" {} + | sed "s/\b$own\b/$1/g" >"$2"
    [[ -s $2 ]] || find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -exec sed "s/\b$own\b/$1/g" {} + >"$2"
}

make_root() { # SUITE ROOT
    local file
    if [[ ! -e $roots/$1.tar ]]; then
        mkdir -p "$roots"
        sources_for "$1" "$work/$1.sources"
        mmdebstrap --quiet --variant=minbase "$1" "$roots/$1.tar" "$work/$1.sources"
    fi
    mkdir "$2"
    tar -C "$2" --exclude='./dev/*' -xf "$roots/$1.tar"
    mkdir -p "$2/etc/ssl/certs" "$2/usr/local/share/ca-certificates"
    cp -L /etc/resolv.conf /etc/hosts "$2/etc/"
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates/*.crt /etc/apt/auth.conf.d/*; do
        [[ ! -f $file ]] || cp -L "$file" "$2$file"
    done
    # Proxies and the like.
    while IFS= read -r file; do
        cp "$file" "$2$file"
    done < <(grep -l Acquire:: /etc/apt/apt.conf.d/*)
}

# The environment that a login on this machine would have for its registries.
environment() {
    env | grep -E '^(PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(https?|no)_proxy)=' || true
}

# Run a script as root with ROOT as the root file system; a chroot would not do: the kernel refuses user namespaces in one.
inside() { # ROOT SCRIPT [ARGUMENT...]
    local root=$1
    shift
    mapfile -t variables < <(environment)
    # The shell inside the new namespaces expands these.
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child --propagation private /bin/bash -eu -c '
        mount --rbind "$1" "$1"
        cd "$1"
        mount --rbind /sys sys
        mount --rbind /dev dev
        mount -t proc proc proc
        mount -t tmpfs -o mode=755 tmpfs run
        mkdir .old
        pivot_root . .old
        cd /
        umount -l .old
        rmdir .old
        shift
        exec "$@"' inside "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "${variables[@]}" \
        /bin/bash -eu -c "$@"
}

# Leaves the two times in the log; fails when either run fails.
try() { # SUITE USER
    local suite=$1 user=$2 root=$work/$1-$2 home=/root
    make_root "$suite" "$root"
    cat >"$root/prepare" <<'SCRIPT'
user=$1
shift
packages=("$@")
[[ $user == root ]] || packages+=(sudo)
if ((${#packages[@]})); then
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${packages[@]}"
fi
if [[ $user != root ]]; then
    useradd --create-home --shell /bin/bash "$user"
    echo "$user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/fresh
fi
SCRIPT
    cat >"$root/try" <<'SCRIPT'
TIMEFORMAT='%R s'
cd ~/dib-ctr
for turn in first second; do
    echo "-- $turn run of: $*"
    time "$@"
done
SCRIPT
    inside "$root" '. /prepare' prepare "$user" "${packages[@]}" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
    [[ $user == root ]] || home=/home/$user
    git clone --quiet --no-local "$checkout" "$root$home/dib-ctr"
    # A login keeps the variables that this machine's logins have.
    # shellcheck disable=SC2016
    inside "$root" '
        user=$1 home=$2
        shift 2
        chown -R "$user:" "$home/dib-ctr"
        keep=$(env | sed -nE "s/^((PIP|SSL|REQUESTS|CURL)_[A-Z_]+|[a-z]+_proxy)=.*/\1/p" | paste -sd,)
        exec su --login --whitelist-environment="$keep" "$user" -c "/bin/bash -eu /try $*"' \
        login "$user" "$home" "${command[@]}"
}

failed=()
for suite in "${suites[@]}"; do
    for user in "${users[@]}"; do
        echo "== $suite, $user"
        try "$suite" "$user" || failed+=("$suite/$user")
        rm -rf --one-file-system "${work:?}/$suite-$user"
    done
done
((${#failed[@]} == 0)) || { echo "fresh-machine: failed: ${failed[*]}" >&2; exit 1; }
echo "fresh-machine: all well"
