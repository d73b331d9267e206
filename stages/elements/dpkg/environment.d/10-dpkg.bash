# No question is asked during a build, whichever script calls the package tools.
export DEBIAN_FRONTEND=noninteractive
export DIB_DISABLE_APT_CLEANUP="${DIB_DISABLE_APT_CLEANUP:-0}"
export DIB_ADD_APT_KEYS="${DIB_ADD_APT_KEYS:-}"
