# A user to log in with while an image is being worked on.
export DIB_DEV_USER_USERNAME="${DIB_DEV_USER_USERNAME:-devuser}"
export DIB_DEV_USER_SHELL="${DIB_DEV_USER_SHELL:-/bin/bash}"
export DIB_DEV_USER_PWDLESS_SUDO="${DIB_DEV_USER_PWDLESS_SUDO:-no}"
export DIB_DEV_USER_PASSWORD="${DIB_DEV_USER_PASSWORD:-}"
export DIB_DEV_USER_GROUPS="${DIB_DEV_USER_GROUPS:-}"
export DIB_DEV_USER_AUTHORIZED_KEYS="${DIB_DEV_USER_AUTHORIZED_KEYS:-}"
if [ -f "$DIB_DEV_USER_AUTHORIZED_KEYS" ]; then # a file that the variable names goes along with the request
    DIB_DEV_USER_AUTHORIZED_KEYS="$(cat "$DIB_DEV_USER_AUTHORIZED_KEYS")"
fi
