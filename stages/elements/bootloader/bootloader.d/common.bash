# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# What all parts of the stage 50-bootloader share: the disk's labels, the system's name, ESP and errors.

root_label="${DIB_ROOT_LABEL:-cloudimg-rootfs}"
boot_label="${DIB_BOOT_LABEL:-}"

# The file system that holds kernels and GRUB, and the path of /boot on it.
if [ -n "$boot_label" ]; then
    kernels_label="$boot_label" kernels_path=""
else
    kernels_label="$root_label" kernels_path=/boot
fi

# fail WHAT NEXT
fail() {
    printf 'bootloader: %s; %s\n' "$1" "$2" >&2
    exit 1
}

# What os-release calls the system: $system_name.
system_name="$(
    PRETTY_NAME=""
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || . /etc/os-release
    printf '%s' "${PRETTY_NAME:-Linux}"
)"
system_name="${system_name//\'/}"

# The folder whose file system is the ESP: $esp, empty where the layout mounts none.
find_esp() {
    local folder folders=(/boot/efi /efi)
    [ "$DIB_BOOTLOADER" = grub ] || folders+=(/boot)
    esp=""
    for folder in "${folders[@]}"; do
        case "|${DIB_MOUNTPOINTS:-/|/boot/efi}|" in
            *"|$folder|"*)
                esp="$folder"
                return
                ;;
        esac
    done
}
