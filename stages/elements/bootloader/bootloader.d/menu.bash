# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# GRUB's menu: the newest kernel, and a submenu with all of them. A GRUB that reads the files of /boot/loader/entries (UAPI.1:
# Fedora's and Red Hat's) shows these first, so that the running machine's kernel-install can add and remove kernels.

# entry INDENT TITLE VERSION [WORD]: a menu entry; WORD takes the place of the usual command line.
entry() {
    printf "%smenuentry '%s' --class os {\n" "$1" "$2"
    printf '%s    %s %s/%s root=LABEL=%s ro %s\n' \
        "$1" "$load_kernel" "$kernels_path" "${kernel_of[$3]}" "$root_label" "${4:-$command_line}"
    if [ -n "${initrd_of[$3]:-}" ]; then
        printf '%s    %s %s/%s\n' "$1" "$load_initrd" "$kernels_path" "${initrd_of[$3]}"
    fi
    printf '%s}\n' "$1"
}

# SUSE's signed GRUB has `linuxefi` built in, and may load no module that brings `linux` where Secure Boot is on.
load_kernel=linux load_initrd=initrd
choose_commands() {
    [ -e /usr/share/grub2/x86_64-efi/linuxefi.mod ] || return 0
    # shellcheck disable=SC2016 # GRUB's variables
    load_kernel='$load_kernel' load_initrd='$load_initrd'
    printf 'set load_kernel=linux\nset load_initrd=initrd\n'
    # shellcheck disable=SC2016 # GRUB's variables
    printf 'if [ "$grub_cpu-$grub_platform" = x86_64-efi ]; then\n'
    printf '    set load_kernel=linuxefi\n    set load_initrd=initrdefi\nfi\nexport load_kernel load_initrd\n'
}

reads_boot_entries() {
    compgen -G '/usr/lib/grub/*/blscfg.mod' > /dev/null
}

# write_boot_entries: a file for each kernel; none where this GRUB does not read them.
write_boot_entries() {
    local version folder=/boot/loader/entries
    reads_boot_entries || return 0
    mkdir -p "$folder"
    rm -f "$folder"/*.conf
    for version in "${versions[@]}"; do
        {
            printf 'title %s (%s)\nversion %s\n' "$system_name" "$version" "$version"
            printf 'linux %s/%s\n' "$kernels_path" "${kernel_of[$version]}"
            [ -z "${initrd_of[$version]:-}" ] || printf 'initrd %s/%s\n' "$kernels_path" "${initrd_of[$version]}"
            printf 'options root=LABEL=%s ro %s\n' "$root_label" "$command_line"
        } > "$folder/${DISTRO_NAME:-linux}-$version.conf"
    done
    set_option /etc/default/grub GRUB_ENABLE_BLSCFG true
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
    choose_commands
    if reads_boot_entries; then
        # shellcheck disable=SC2016 # GRUB's variable
        printf 'set boot=$root\nset blsdir=%s/loader/entries\ninsmod blscfg\nblscfg\n' "$kernels_path"
    fi
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
    write_boot_entries
    menu > "$grub_folder/grub.cfg.new"
    mv "$grub_folder/grub.cfg.new" "$grub_folder/grub.cfg"
}
