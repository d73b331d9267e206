# shellcheck shell=bash disable=SC2154 # the parts of 50-bootloader share variables
# What an s390x disk starts: /etc/zipl.conf (zipl.conf(5)). The disk's writer goes by it, and later the machine's own zipl.

# Links that the distribution keeps at its newest kernel, so that zipl finds the next one; pairs of kernel and ram disk.
kernel_links=(
    "/boot/vmlinuz /boot/initrd.img"
    "/vmlinuz /initrd.img"
    "/boot/image /boot/initrd"
    "/boot/vmlinuz /boot/initramfs"
)

# find_files VERSION: $image and $ramdisk, by their links where there are such.
find_files() {
    local pair link other
    image="/boot/${kernel_of[$1]}"
    ramdisk="${initrd_of[$1]:+/boot/${initrd_of[$1]}}"
    for pair in "${kernel_links[@]}"; do
        read -r link other <<< "$pair"
        if [ -L "$link" ] && [ "$(readlink -f -- "$link")" = "$(readlink -f -- "$image")" ] &&
            [ -n "$ramdisk" ] && [ -L "$other" ] &&
            [ "$(readlink -f -- "$other")" = "$(readlink -f -- "$ramdisk")" ]; then
            image="$link" ramdisk="$other"
            return
        fi
    done
}

write_zipl_settings() {
    local image ramdisk line quote='"'
    find_files "${versions[0]}"
    line="root=LABEL=$root_label ro${command_line:+ $command_line}"
    case "$line" in
        *\"*\'* | *\'*\"*) fail "the kernel's command line has both kinds of quotes, and zipl.conf takes one" \
            "leave one of them out of DIB_BOOTLOADER_DEFAULT_CMDLINE" ;;
        *\"*) quote="'" ;;
    esac
    {
        printf '# Written by the element bootloader. zipl reads it: in this machine, each time that a kernel is installed.\n'
        printf '[defaultboot]\ndefault=linux\n\n[linux]\ntarget=/boot\nimage=%s\n' "$image"
        [ -z "$ramdisk" ] || printf 'ramdisk=%s\n' "$ramdisk"
        printf 'parameters=%s%s%s\n' "$quote" "$line" "$quote"
    } > /etc/zipl.conf
    command -v zipl > /dev/null ||
        echo "bootloader: zipl is not in the image: the machine will start this kernel, also when a newer one is installed." >&2
}
