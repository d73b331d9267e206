# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# systemd-boot in the ESP, with an entry or a unified kernel image for each kernel, named as kernel-install names them:
# so that it replaces and removes them when the running machine's kernel is updated (UAPI.1, UAPI.5).

install_systemd_boot() {
    local suffix token version loader
    [ -n "$esp" ] ||
        fail "$DIB_BOOTLOADER needs an EFI system partition, and the layout mounts none at /boot/efi, /efi or /boot" \
            "use block-device-hybrid or block-device-efi, or DIB_BOOTLOADER=grub"
    case "$DIB_BOOTLOADER_PLATFORMS" in
        x86_64-efi) suffix=x64 ;;
        i386-efi) suffix=ia32 ;;
        arm64-efi) suffix=aa64 ;;
        arm-efi) suffix=arm ;;
        riscv64-efi) suffix=riscv64 ;;
        *) fail "there is no $DIB_BOOTLOADER for this architecture" "use DIB_BOOTLOADER=grub" ;;
    esac
    loader="/usr/lib/systemd/boot/efi/systemd-boot$suffix.efi"
    [ -e "$loader" ] ||
        fail "$loader is not in the image" "leave DIB_SKIP_GRUB_PACKAGE_INSTALL out, or install systemd-boot"
    token="${DISTRO_NAME:-linux}"

    mkdir -p "$esp/EFI/BOOT" "$esp/EFI/systemd" "$esp/EFI/Linux" "$esp/loader/entries" /etc/kernel
    cp -- "$loader" "$esp/EFI/BOOT/BOOT${suffix^^}.EFI"
    cp -- "$loader" "$esp/EFI/systemd/systemd-boot$suffix.efi"
    printf 'timeout %s\n' "$DIB_GRUB_TIMEOUT" > "$esp/loader/loader.conf"

    # What kernel-install goes by in the running machine.
    printf '%s\n' "$token" > /etc/kernel/entry-token
    printf 'root=LABEL=%s ro %s\n' "$root_label" "$command_line" > /etc/kernel/cmdline
    rm -rf "${esp:?}/$token" "$esp/loader/entries/$token-"*.conf "$esp/EFI/Linux/$token-"*.efi
    case "$DIB_BOOTLOADER" in
        systemd-boot)
            printf 'layout=bls\n' > /etc/kernel/install.conf
            printf 'type1\n' > "$esp/loader/entries.srel"
            for version in "${versions[@]}"; do
                install_entry "$token" "$version"
            done
            ;;
        uki)
            printf 'layout=uki\nuki_generator=ukify\n' > /etc/kernel/install.conf
            command -v ukify > /dev/null ||
                fail "ukify is not in the image" \
                    "take a release that has it (Debian 13, Ubuntu 24.04), or DIB_BOOTLOADER=systemd-boot"
            for version in "${versions[@]}"; do
                install_unified "$token" "$version" "/usr/lib/systemd/boot/efi/linux$suffix.efi.stub"
            done
            ;;
    esac
}

# install_entry TOKEN VERSION: kernel, initial ram disk, and the file that names them.
install_entry() {
    local folder="$1/$2" kernel="${kernel_of[$2]}" initrd="${initrd_of[$2]:-}"
    mkdir -p "$esp/$folder"
    cp -- "/boot/$kernel" "$esp/$folder/linux"
    {
        printf 'title      %s\n' "$system_name"
        printf 'version    %s\n' "$2"
        printf 'sort-key   %s\n' "$1"
        printf 'options    %s\n' "$(cat /etc/kernel/cmdline)"
        printf 'linux      /%s/linux\n' "$folder"
        if [ -n "$initrd" ]; then
            cp -- "/boot/$initrd" "$esp/$folder/$initrd"
            printf 'initrd     /%s/%s\n' "$folder" "$initrd"
        fi
    } > "$esp/loader/entries/$1-$2.conf"
}

# install_unified TOKEN VERSION STUB: all of it in one program.
install_unified() {
    local arguments=(--linux "/boot/${kernel_of[$2]}" --uname "$2" --stub "$3")
    if [ -n "${initrd_of[$2]:-}" ]; then
        arguments+=(--initrd "/boot/${initrd_of[$2]}")
    fi
    ukify build "${arguments[@]}" --cmdline @/etc/kernel/cmdline --os-release @/etc/os-release \
        --output "$esp/EFI/Linux/$1-$2.efi"
    chmod 0644 "$esp/EFI/Linux/$1-$2.efi"
}
