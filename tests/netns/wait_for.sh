# Polls a command until it succeeds: wait_for SECONDS WHAT COMMAND… Sourced; needs `fail`.
wait_for() {
    local limit=$1 what=$2 start=$SECONDS
    shift 2
    until "$@"; do
        ((SECONDS - start < limit)) || fail "$what (waited $limit s)"
        sleep 0.1
    done
}
