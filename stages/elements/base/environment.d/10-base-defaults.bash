# DIB_AVOID_PACKAGES_UPDATE=1 keeps the installed packages at the versions they were installed with.
export DIB_AVOID_PACKAGES_UPDATE="${DIB_AVOID_PACKAGES_UPDATE:-0}"
export DIB_CLOUD_INIT_ETC_HOSTS="${DIB_CLOUD_INIT_ETC_HOSTS:-localhost}"
