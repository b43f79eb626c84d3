#!/usr/bin/env bash
# How long a node is away that is killed with SIGKILL and started again at once, as a supervisor would: from the signal
# until it knows its peer and the peer knows it under its old name, in its next life.
#
#   tests/rejoin.sh [path to banyan] [times]
#
# Exits 1 if it ever takes longer than 2 s. Needs curl and jq.
set -euo pipefail

banyan=$(realpath "${1:-target/release/banyan}") times=${2:-20} limit_ms=2000
work=$(mktemp -d)
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

get() { curl -s --unix-socket "$work/$1.sock" "http://banyan/v1/$2"; }
start() {
    local name=$1
    shift
    "$banyan" run --mesh "rejoin$$" --label "$name" --no-mdns --data-dir "$work/$name" --socket "$work/$name.sock" "$@" \
        >>"$work/$name.log" 2>&1 &
    started=$!
    pids+=("$started")
}
# What a node says of its only peer, or of itself.
until_true() { until "$@" 2>/dev/null; do sleep 0.01; done; }
peer_is() { [[ $(get a peers | jq -r '.data.peers[] | select(.state == "alive") | .peer_id') == "$1" ]]; }
knows_peer() { [[ $(get b status | jq .data.peers) == 1 ]]; }
life() { get b status | jq .data.incarnation; }

start a --listen /ip4/127.0.0.1/tcp/0
until_true eval '[[ $(get a status | jq -r ".data.addresses[0]") == /ip4* ]]'
address=$(get a status | jq -r '.data.addresses[0]')
start b --listen /ip4/127.0.0.1/tcp/0 --bootstrap "$address"
until_true knows_peer
name=$(get b status | jq -r .data.peer_id)
until_true peer_is "$name"

: >"$work/times"
for ((nth = 0; nth < times; nth++)); do
    before=$(life)
    from=${EPOCHREALTIME/[.,]/}
    { kill -9 "$started" && wait "$started"; } 2>/dev/null || true
    start b --listen /ip4/127.0.0.1/tcp/0 --bootstrap "$address"
    until_true knows_peer
    until_true peer_is "$name"
    echo $(((${EPOCHREALTIME/[.,]/} - from) / 1000)) >>"$work/times"
    [[ $(get b status | jq -r .data.peer_id) == "$name" ]] && (($(life) > before)) || { echo "not in its next life" >&2; exit 1; }
    sleep 1
done
sort -n "$work/times" | awk -v limit="$limit_ms" '
    { ms[NR] = $1 }
    END {
        printf "%d restarts: median %d ms, longest %d ms (%d allowed)\n", NR, ms[int((NR + 1) / 2)], ms[NR], limit
        exit NR == 0 || ms[NR] > limit
    }'
