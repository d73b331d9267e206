# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# The kernels in /boot and their initial ram disks, the newest first.

# $versions: an array of versions; kernel_of and initrd_of: the file of each.
declare -a versions=()
declare -A kernel_of=() initrd_of=()

find_kernels() {
    local file name version
    for file in /boot/vmlinuz-* /boot/vmlinux-* /boot/kernel-* /boot/Image-* /boot/image-*; do
        [ -f "$file" ] || continue
        name="${file##*/}"
        case "$name" in
            *.old | *.bak | *.sig | *.hmac | *.gz) continue ;;
        esac
        version="${name#*-}"
        [ -z "${kernel_of[$version]:-}" ] || continue
        versions+=("$version")
        kernel_of[$version]="$name"
        for name in "initrd.img-$version" "initramfs-$version.img" "initrd-$version" "initramfs-$version"; do
            if [ -f "/boot/$name" ]; then
                initrd_of[$version]="$name"
                break
            fi
        done
    done
    [ "${#versions[@]}" -gt 0 ] ||
        fail "there is no kernel in /boot" "add the element vm, or a package with a kernel (-p linux-image-amd64)"
    # A rescue kernel has no version to compare: it comes last.
    mapfile -t versions < <(
        printf '%s\n' "${versions[@]}" | { grep -v rescue || true; } | LC_ALL=C sort -V -r
        printf '%s\n' "${versions[@]}" | { grep rescue || true; } | LC_ALL=C sort
    )
}
