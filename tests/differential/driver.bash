# What disk-image-create, diskimage-builder's own script, finds where the real thing takes root, a disk or minutes.
# bash reads this file (BASH_ENV) before that script, and the second half after its library img-functions. What is
# called is written down in $DRIVER_RECORD, a word ended by a NUL each, a call by an empty line. All else is its own.
#
# Not its own: sudo, the block device, phases and the chroot, mounts, qemu-img, vhd-util, mksquashfs, docker, fstrim,
# sleep, the filter of its output, and the expansion of elements (which has examples of its own).
# shellcheck shell=bash disable=SC2034,SC2317

driver_record() { printf '%s\0' "$@" $'\n' >>"$DRIVER_RECORD"; }

driver_state() {
    driver_record state "$1" "${ARCH-}" "${IMAGE_NAME-}" "${IMAGE_ELEMENT-}" "${DIB_DEBUG_TRACE-}" "${DIB_CHECKSUM-}" \
        "${DIB_OFFLINE-}" "${DIB_IMAGE_SIZE-}" "${MKFS_OPTS-}" "${ROOT_LABEL-}" "${FS_TYPE-}" \
        "${DIB_DEFAULT_INSTALLTYPE-}" "${DIB_ARGS-}"
}

driver_python() {
    case "$*" in
        *outfilter.py*) cat ;;
        *element-info.py*) printf "export IMAGE_ELEMENT='%s'\n" "${*:3}" ;;
        *show_path*) echo "$DRIVER_FOLDER" ;;
        *version_string*) echo 0 ;;
        *dib-block-device.py\ getval\ root-fstype) echo "${FS_TYPE}" ;;
        *dib-block-device.py\ getval\ image-path)
            : >"$TMP_IMAGE_DIR/image0.raw"
            echo "$TMP_IMAGE_DIR/image0.raw"
            ;;
        *dib-block-device.py\ getval*) echo something ;;
        *dib-block-device.py\ create) driver_state create ;;
        *) : ;;
    esac
}

sudo() {
    case "$1" in
        du) printf '900000\t/built\n1000000\ttotal\n' ;;
        tar)
            local after=
            for word in "$@"; do
                if [[ $after == -cf ]]; then
                    if [[ $word == - ]]; then printf data; else echo data >"$word"; fi
                fi
                after=$word
            done
            ;;
        docker)
            cat >/dev/null
            driver_record "$@"
            ;;
        mksquashfs)
            : >"$3"
            driver_record "$@"
            ;;
        *) : ;;
    esac
}
qemu-img() {
    driver_record qemu-img "$@"
    : >"${!#}"
}
vhd-util() {
    : >"${!#}"
    : >"${!#}.bak"
}
mksquashfs() { :; }
docker() { :; }
fstrim() { :; }
sleep() { :; }

driver_after_library() {
    create_base() {
        mkdir -p "$TMP_BUILD_DIR/mnt" "$TMP_HOOKS_PATH"
        export TMP_MOUNT_PATH=$TMP_BUILD_DIR/mnt
    }
    run_in_target() { driver_record inside "$@"; }
    run_d() { :; }
    run_d_in_target() { :; }
    eval_run_d() { :; }
    unmount_image() { :; }
    mount_proc_dev_sys() { mkdir -p "$TMP_BUILD_DIR/mnt"; }
    finalise_base() { :; }
    cleanup_build_dir() { rm -rf "$TMP_BUILD_DIR"; }
    cleanup_image_dir() { rm -rf "$TMP_IMAGE_DIR"; }
}
