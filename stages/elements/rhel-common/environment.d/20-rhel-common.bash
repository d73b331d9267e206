# How the tree is registered while packages are installed.
export REG_METHOD="${REG_METHOD:-disable}"
export REG_ORG="${REG_ORG:-}"
export REG_ACTIVATION_KEY="${REG_ACTIVATION_KEY:-}"
export REG_SAT_URL="${REG_SAT_URL:-}"
export REG_SAT_CA="${REG_SAT_CA:-}"
export REG_SAT_REPO="${REG_SAT_REPO:-}"
export REG_SERVER_URL="${REG_SERVER_URL:-}"
export REG_BASE_URL="${REG_BASE_URL:-}"
export REG_REPOS="${REG_REPOS:-}"
export REG_RELEASE="${REG_RELEASE:-}"
export REG_ENVIRONMENT="${REG_ENVIRONMENT:-}"

dib_rhel_refuse() {
    echo "rhel-common: $1" >&2
    exit 1
}
case "$REG_METHOD" in
    disable) ;;
    portal | satellite)
        [ -n "$REG_ORG" ] || dib_rhel_refuse "REG_ORG is empty; set it to the organisation to register with."
        # A key in a variable would stay in the records of the build.
        [ -f "$REG_ACTIVATION_KEY" ] ||
            dib_rhel_refuse "REG_ACTIVATION_KEY must be the absolute path of a file that holds the activation key."
        ;;
    *) dib_rhel_refuse "REG_METHOD is '$REG_METHOD'; expected portal, satellite or disable." ;;
esac
if [ "$REG_METHOD" = satellite ]; then
    [ -n "$REG_SAT_URL" ] || dib_rhel_refuse "REG_SAT_URL is empty; set it to the Satellite's address."
    [ -f "$REG_SAT_CA" ] ||
        dib_rhel_refuse "REG_SAT_CA must be the absolute path of a file with the certificate that the Satellite is known by."
fi
if [ -n "${REG_PASSWORD:-}" ]; then
    dib_rhel_refuse "REG_PASSWORD is not supported; use REG_ORG and an activation key (REG_ACTIVATION_KEY)."
fi
unset -f dib_rhel_refuse
