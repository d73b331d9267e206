# Which init system the image has is the operating system's element's to say, or the user's.
case "${DIB_INIT_SYSTEM:-}" in
    systemd | openrc | sysv | upstart) export DIB_INIT_SYSTEM ;;
    *)
        echo "dib-init-system: DIB_INIT_SYSTEM is '${DIB_INIT_SYSTEM:-}'; set it to systemd, openrc, sysv or upstart." >&2
        exit 1
        ;;
esac
