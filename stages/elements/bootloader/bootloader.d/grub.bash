# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# GRUB's files for one platform after another, as grub-install would lay them out, but without a device.

# Where GRUB may find its folder, and what it needs to boot from there even when no module can be read.
modules=(
    part_gpt part_msdos
    ext2 xfs btrfs fat squash4 lvm cryptodisk luks luks2 gcry_rijndael gcry_sha256 gcry_sha512
    search search_label search_fs_uuid search_fs_file
    normal configfile linux boot test echo minicmd ls cat true regexp loadenv serial terminal reboot halt
)

# GRUB's own commands and folders are called grub or grub2: $grub_mkimage, $grub_folder.
find_grub() {
    local name
    grub_mkimage="" grub_folder=/boot/grub
    for name in grub-mkimage grub2-mkimage; do
        if command -v "$name" > /dev/null; then
            grub_mkimage="$name"
            [ "$name" = grub-mkimage ] || grub_folder=/boot/grub2
            break
        fi
    done
    if [ -n "$DIB_BOOTLOADER_PLATFORMS" ] && [ -z "$grub_mkimage" ]; then
        fail "grub-mkimage is not in the image" "leave DIB_SKIP_GRUB_PACKAGE_INSTALL out, or install GRUB"
    fi
    mkdir -p "$grub_folder"
}

# modules_of PLATFORM: the folder that the packages have a platform's modules in; SUSE's have one of their own.
modules_of() {
    local folder
    for folder in "/usr/lib/grub/$1" "/usr/share/grub2/$1"; do
        if [ -e "$folder/moddep.lst" ]; then
            printf '%s' "$folder"
            return
        fi
    done
    fail "GRUB's modules for $1 are not in the image" \
        "leave DIB_SKIP_GRUB_PACKAGE_INSTALL out, or install the package with /usr/lib/grub/$1"
}

# find_itself: how GRUB finds its folder from wherever it was started.
find_itself() {
    # shellcheck disable=SC2016 # GRUB's variable
    printf 'search.fs_label "%s" root\nset prefix=($root)%s/%s\n' \
        "$kernels_label" "$kernels_path" "${grub_folder#/boot/}"
}

# make_image PLATFORM FILE MODULE...
make_image() {
    local platform="$1" file="$2" early folder
    shift 2
    folder="$(modules_of "$platform")"
    early="$(mktemp)"
    find_itself > "$early"
    "$grub_mkimage" --directory "$folder" --format "$platform" --config "$early" \
        --prefix "$kernels_path/${grub_folder#/boot/}" --output "$file" "${modules[@]}" "$@"
    rm "$early"
    chmod 0644 "$file"
}

install_grub() {
    local platform="$1" source target="$grub_folder/$1"
    source="$(modules_of "$platform")"
    rm -rf "$target"
    mkdir -p "$target"
    cp -- "$source"/*.mod "$source"/*.lst "$target/"
    case "$platform" in
        i386-pc)
            cp -- "$source/boot.img" "$target/"
            make_image "$platform" "$target/core.img" biosdisk
            ;;
        powerpc-ieee1275)
            make_image "$platform" "$target/core.elf" ieee1275_fb
            ;;
        *-efi)
            if [ -z "$esp" ]; then
                echo "bootloader: the layout mounts no EFI system partition, so there is no boot loader for UEFI." >&2
                return
            fi
            make_image "$platform" "$target/core.efi" all_video
            install_grub_efi "$platform" "$target/core.efi"
            ;;
    esac
}

# install_grub_efi PLATFORM IMAGE: where firmware looks on a disk that it has never seen (UEFI 3.5.1.1).
install_grub_efi() {
    local suffix folder="$esp/EFI/BOOT"
    case "$1" in
        x86_64-efi) suffix=x64 ;;
        i386-efi) suffix=ia32 ;;
        arm64-efi) suffix=aa64 ;;
        arm-efi) suffix=arm ;;
        riscv64-efi) suffix=riscv64 ;;
    esac
    mkdir -p "$folder"
    local first="$folder/BOOT${suffix^^}.EFI"
    if [ "$DIB_BOOTLOADER_SIGNED" != True ]; then
        cp -- "$2" "$first"
        return
    fi
    place_signed "$1" "$suffix" "$folder" "$first"
}

# place_signed PLATFORM SUFFIX FOLDER FIRST: the distribution's shim and signed GRUB, where its packages have them.
place_signed() {
    local platform="$1" suffix="$2" folder="$3" first="$4" own="$esp/${EFI_BOOT_DIR:-EFI/BOOT}" place
    # Red Hat's family has both on the ESP, with what a first boot starts. Fedora's newer packages have them below /usr, and put
    # them onto an ESP only where one is mounted.
    if [ ! -e "$own/shim$suffix.efi" ]; then
        for place in /usr/lib/efi/shim/*/EFI /usr/lib/efi/grub2/*/EFI; do
            [ ! -d "$place" ] || cp -R -- "$place" "$esp/"
        done
    fi
    if [ -e "$own/shim$suffix.efi" ]; then
        [ -e "$own/grub$suffix.efi" ] ||
            fail "the signed boot loader $own/grub$suffix.efi is not in the image" "set DIB_BOOTLOADER_SIGNED=False"
        write_signed_settings "$own"
        return
    fi
    # SUSE's shim starts `grub.efi`, which takes its settings from the folder that it lies in.
    place="/usr/share/efi/$(uname -m)"
    if [ -e "$place/shim.efi" ]; then
        copy_signed "$place/shim.efi" "$first"
        copy_signed "$place/grub.efi" "$folder/grub.efi"
        copy_signed "$place/MokManager.efi" "$folder/MokManager.efi"
        write_signed_settings "$folder"
        return
    fi
    copy_signed "/usr/lib/shim/shim$suffix.efi.signed" "$first"
    copy_signed "/usr/lib/grub/$platform-signed/grub$suffix.efi.signed" "$folder/grub$suffix.efi"
    for place in "/usr/lib/shim/mm$suffix.efi.signed" "/usr/lib/shim/mm$suffix.efi"; do
        if [ -e "$place" ]; then
            cp -- "$place" "$folder/mm$suffix.efi"
            break
        fi
    done
    write_signed_settings "$own"
}

# copy_signed FILE TARGET
copy_signed() {
    [ -e "$1" ] || fail "the signed boot loader $1 is not in the image" "set DIB_BOOTLOADER_SIGNED=False"
    cp -L -- "$1" "$2"
}

# write_signed_settings FOLDER: the signed GRUB has its distribution's folder built in, and reads only this there.
write_signed_settings() {
    mkdir -p "$1"
    {
        find_itself
        # shellcheck disable=SC2016 # GRUB's variable
        printf 'configfile $prefix/grub.cfg\n'
    } > "$1/grub.cfg"
}
