# shellcheck shell=bash disable=SC2034,SC2154 # the parts of 50-bootloader share variables
# The kernel's command line, and /etc/default/grub, from which update-grub writes the menu of the running machine.

serial=""
serial_unit=0
serial_speed=115200
if [ "$DIB_BOOTLOADER_USE_SERIAL_CONSOLE" = True ]; then
    serial="$DIB_BOOTLOADER_SERIAL_CONSOLE"
    if [[ "$serial" =~ ^ttyS([0-9]+)(,([0-9]+))? ]]; then
        serial_unit="${BASH_REMATCH[1]}"
        serial_speed="${BASH_REMATCH[3]:-115200}"
    fi
fi

words=()
[ -z "$DIB_BOOTLOADER_VIRTUAL_TERMINAL" ] || words+=("console=$DIB_BOOTLOADER_VIRTUAL_TERMINAL")
[ -z "$serial" ] || words+=("console=$serial")
[ "$DIB_NO_TIMER_CHECK" != True ] || words+=(no_timer_check)
[ -z "$DIB_BOOTLOADER_DEFAULT_CMDLINE" ] || words+=("$DIB_BOOTLOADER_DEFAULT_CMDLINE")
[ -z "$boot_label" ] || words+=("boot=LABEL=$boot_label")
command_line="${words[*]}"

# GRUB speaks on the serial line itself only where that is a PC's: other firmware has it in its own console.
terminals=console
case "$serial" in
    ttyS*) terminals="serial console" ;;
esac

# set_option FILE NAME VALUE: one line NAME=VALUE, in place of those that were there.
set_option() {
    local line="$2=\"$3\""
    touch "$1"
    if grep -q "^$2=" "$1"; then
        LINE="$line" awk -v name="$2=" \
            'index($0, name) == 1 { if (!done++) print ENVIRON["LINE"]; next } { print }' "$1" > "$1.new"
        cat "$1.new" > "$1"
        rm "$1.new"
    else
        printf '%s\n' "$line" >> "$1"
    fi
}

# What the distribution's own setting says beside consoles and the label of /boot.
kept_words() {
    local word kept=()
    # shellcheck source=/dev/null
    read -r -a kept <<< "$(. "$1" && printf '%s' "${GRUB_CMDLINE_LINUX_DEFAULT:-}")" || true
    for word in "${kept[@]}"; do
        case " $command_line " in
            *" $word "*) continue ;;
        esac
        case "$word" in
            console=* | boot=*) ;;
            *) printf '%s ' "$word" ;;
        esac
    done
}

write_grub_settings() {
    local file=/etc/default/grub
    mkdir -p /etc/default
    if [ ! -e "$file" ]; then
        printf '%s\n' '# Read by update-grub, which writes the boot menu.' \
            'GRUB_DEFAULT=0' "GRUB_DISTRIBUTOR='$system_name'" > "$file"
    fi
    command_line="$(kept_words "$file")$command_line"
    set_option "$file" GRUB_DEVICE "LABEL=$root_label"
    set_option "$file" GRUB_DISABLE_LINUX_UUID true
    set_option "$file" GRUB_TIMEOUT "$DIB_GRUB_TIMEOUT"
    set_option "$file" GRUB_TIMEOUT_STYLE "$DIB_GRUB_TIMEOUT_STYLE"
    # Ubuntu's GRUB waits longer after a start that did not come to its end; a machine without a keyboard gains nothing.
    [ "${DISTRO_NAME:-}" != ubuntu ] || set_option "$file" GRUB_RECORDFAIL_TIMEOUT "$DIB_GRUB_TIMEOUT"
    set_option "$file" GRUB_TERMINAL "$terminals"
    set_option "$file" GRUB_GFXPAYLOAD_LINUX auto
    set_option "$file" GRUB_SERIAL_COMMAND \
        "serial --unit=$serial_unit --speed=$serial_speed --word=8 --parity=no --stop=1"
    set_option "$file" GRUB_CMDLINE_LINUX_DEFAULT "$command_line"
}
