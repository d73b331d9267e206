# True lets users log in over ssh with a password; key types are the host keys that cloud-init makes (empty: its default).
export DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH="${DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH:-}"
export DIB_CLOUD_INIT_SSH_GENKEYTYPES="${DIB_CLOUD_INIT_SSH_GENKEYTYPES:-}"
