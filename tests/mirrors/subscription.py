"""A stand-in for subscription-manager: it talks to nobody, and leaves what the real one leaves.

While it is registered there is a package source with the packages that are for subscribers; ``rhsm.baseurl`` says where
Red Hat's servers are, as it does for the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

KEY = "a-secret-key"

SUBSCRIPTION_MANAGER = r"""#!/bin/bash
set -eu
settings=/etc/rhsm/rhsm.conf
case "$1" in
    config)
        for word in "$@"; do
            case "$word" in
                --rhsm.baseurl=*) sed -i "s,^baseurl =.*,baseurl = ${word#*=}," "$settings" ;;
            esac
        done
        ;;
    register)
        [[ " $* " == *" --org "*" --activationkey @KEY@ "* ]] || { echo "Invalid Activation Keys" >&2; exit 70; }
        . /etc/os-release
        mkdir -p /etc/pki/consumer /etc/pki/entitlement
        echo identity > /etc/pki/consumer/key.pem
        echo entitlement > /etc/pki/entitlement/1-key.pem
        {
            printf '[rhel-%s-for-x86_64-baseos-rpms]\nname=baseos\n' "$VERSION_ID"
            printf 'baseurl=%s/content/dist/rhel%s/%s/x86_64/baseos/os\n' \
                "$(sed -n 's/^baseurl = *//p' "$settings")" "$VERSION_ID" "$VERSION_ID"
            printf 'enabled=1\ngpgcheck=1\n'
        } > /etc/yum.repos.d/redhat.repo
        ;;
    unregister) rm -f /etc/pki/consumer/key.pem /etc/yum.repos.d/redhat.repo ;;
esac
""".replace("@KEY@", KEY)


def registration(key: Path, address: str) -> Mapping[str, str]:
    """What a build is told, to register at ``address``; the activation key is written into the file ``key``."""
    key.write_text(f"{KEY}\n", encoding="utf-8")
    return {
        "REG_METHOD": "portal",
        "REG_ORG": "12345",
        "REG_ACTIVATION_KEY": str(key),
        "REG_BASE_URL": address,
    }
