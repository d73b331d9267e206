# How packages are installed.
export DIB_ZYPPER_EXCLUDE_DOCS="${DIB_ZYPPER_EXCLUDE_DOCS:-yes}"
case "$DIB_ZYPPER_EXCLUDE_DOCS" in
    yes | no) ;;
    *)
        echo "zypper: DIB_ZYPPER_EXCLUDE_DOCS is '$DIB_ZYPPER_EXCLUDE_DOCS'; expected yes or no." >&2
        exit 1
        ;;
esac
