#!/bin/bash
# Installs the daemons that tests talk to where they are missing: docker's, and a container registry. As root; none is
# started as a service: the tests start their own, with folders and sockets of their own.

set -eu -o pipefail

missing=()
type -P dockerd >/dev/null || missing+=(docker.io)
type -P docker-registry >/dev/null || missing+=(docker-registry)
if ((${#missing[@]} == 0)); then
    exit 0
fi
if ((EUID)); then
    echo "setup-daemons.sh: only root can install what is missing: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# No service: a package's post-installation script would start one with networks and ports that this machine may not offer.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$log" "$policy"' EXIT
fi
{
    apt-get -q update &&
        apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 || {
    tail -n 12 "$log" >&2
    echo "setup-daemons.sh: ${missing[*]} could not be installed" >&2
    exit 1
}
