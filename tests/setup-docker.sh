#!/bin/bash
# Installs docker's daemon where there is none, for the tests of the docker engines. As root; the tests start the daemon
# themselves, with a data folder and a socket of its own.

set -eu -o pipefail

if type -P dockerd >/dev/null; then
    exit 0
fi
if ((EUID)); then
    echo "setup-docker.sh: there is no dockerd, and only root can install it: sudo apt-get install docker.io" >&2
    exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# No service: a package's post-installation script would start one with networks that this machine may not offer.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$log" "$policy"' EXIT
fi
{
    apt-get -q update &&
        apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends docker.io
} >"$log" 2>&1 || {
    tail -n 12 "$log" >&2
    echo "setup-docker.sh: docker.io could not be installed" >&2
    exit 1
}
