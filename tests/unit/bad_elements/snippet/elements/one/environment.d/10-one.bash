set -x
export ONE=1
