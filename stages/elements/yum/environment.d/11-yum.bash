# How packages are installed, and what is added to the image's package sources during the build.
export YUM="${YUM:-dnf}"
export DIB_DNF_TSFLAGS="${DIB_DNF_TSFLAGS-nodocs}"
export DIB_DNF_MODULE_STREAMS="${DIB_DNF_MODULE_STREAMS:-}"
export DIB_YUM_REPO_CONF="${DIB_YUM_REPO_CONF:-}"
export DIB_YUM_REPO_PACKAGE="${DIB_YUM_REPO_PACKAGE:-}"
