# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# GRUB's menu: the newest kernel, and a submenu with all of them.

# entry INDENT TITLE VERSION [WORD]: a menu entry; WORD takes the place of the usual command line.
entry() {
    printf "%smenuentry '%s' --class os {\n" "$1" "$2"
    printf '%s    linux %s/%s root=LABEL=%s ro %s\n' \
        "$1" "$kernels_path" "${kernel_of[$3]}" "$root_label" "${4:-$command_line}"
    if [ -n "${initrd_of[$3]:-}" ]; then
        printf '%s    initrd %s/%s\n' "$1" "$kernels_path" "${initrd_of[$3]}"
    fi
    printf '%s}\n' "$1"
}

menu() {
    local version
    printf '# Written by the element bootloader; update-grub writes it anew from /etc/default/grub.\n'
    printf 'set default=0\nset timeout_style=%s\nset timeout=%s\n' "$DIB_GRUB_TIMEOUT_STYLE" "$DIB_GRUB_TIMEOUT"
    if [ "$terminals" != console ]; then
        printf 'serial --unit=%s --speed=%s --word=8 --parity=no --stop=1\n' "$serial_unit" "$serial_speed"
        printf 'terminal_input %s\nterminal_output %s\n' "$terminals" "$terminals"
    fi
    # The kernel takes over the screen as UEFI's firmware left it.
    # shellcheck disable=SC2016 # GRUB's variable
    printf 'if [ "$grub_platform" = efi ]; then\n    insmod all_video\nfi\n'
    printf 'search --no-floppy --set=root --label "%s"\n\n' "$kernels_label"
    entry "" "$system_name" "${versions[0]}"
    printf "submenu 'Advanced options for %s' {\n" "$system_name"
    for version in "${versions[@]}"; do
        entry "    " "$system_name, with Linux $version" "$version"
        entry "    " "$system_name, with Linux $version (recovery mode)" "$version" \
            "single${serial:+ console=$serial}"
    done
    printf '}\n'
}

write_menu() {
    menu > "$grub_folder/grub.cfg.new"
    mv "$grub_folder/grub.cfg.new" "$grub_folder/grub.cfg"
}
