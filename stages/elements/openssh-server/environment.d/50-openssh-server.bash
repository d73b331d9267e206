# 1: strong key exchange, ciphers and message authentication only, no root login by password.
export DIB_OPENSSH_SERVER_HARDENING="${DIB_OPENSSH_SERVER_HARDENING:-1}"
