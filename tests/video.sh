#!/usr/bin/env bash
# A real stream: MPEG-TS test picture at about 8 Mbit/s in real time to eight subscribers, two relays
# killed on the way. Every survivor must hold every byte, and the picture must decode without an error.
#
#   tests/video.sh [path to banyan] [seconds]
#
# Needs ffmpeg and jq; runs on loopback. Exits 77 where they are missing.
set -euo pipefail

banyan=$(realpath "${1:-target/release/banyan}")
seconds=${2:-60}
command -v ffmpeg >/dev/null && command -v jq >/dev/null || { echo "needs ffmpeg and jq; skipped"; exit 77; }
work=$(mktemp -d)
nodes=(0 1 2 3 4 5 6 7 8)
declare -A node_pid subscribe_pid
publish_pid=

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { say "FAILED: $*"; tail -n 3 "$work"/*.log >&2 || true; exit 1; }
cleanup() {
    for pid in "${node_pid[@]}" "${subscribe_pid[@]}" $publish_pid; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
source "$(dirname "$0")/netns/wait_for.sh"
ask() { "$banyan" "${@:2}" --socket "$work/$1.sock" --format json 2>/dev/null; }
listens() { [[ $(ask "$1" status | jq '.data.addresses | length') -gt 0 ]]; }
knows_all() { [[ $(ask "$1" peers | jq '.data.peers | length') == 8 ]]; }
all_attached() { [[ $(ask 0 tree cam/test | jq '[.data.nodes[] | select(.attached)] | length') == "$1" ]]; }

start_node() {
    local node=$1
    shift
    "$banyan" run --mesh video --no-mdns --label "n$node" --data-dir "$work/$node" --socket "$work/$node.sock" \
        --listen /ip4/127.0.0.1/tcp/0 --capacity 2 --root-slots 2 "$@" >"$work/run$node.log" 2>&1 &
    node_pid[$node]=$!
}

start_node 0
wait_for 10 "the first node to listen" listens 0
bootstrap=$(ask 0 status | jq -r '.data.addresses[0]')
for node in "${nodes[@]:1}"; do start_node "$node" --bootstrap "$bootstrap"; done
for node in "${nodes[@]}"; do wait_for 10 "node $node to know the others" knows_all "$node"; done
for node in "${nodes[@]:1}"; do
    "$banyan" subscribe cam/test --socket "$work/$node.sock" --from oldest >"$work/$node.ts" 2>"$work/subscribe$node.log" &
    subscribe_pid[$node]=$!
done

say "streaming $seconds s of MPEG-TS"
{
    ffmpeg -hide_banner -loglevel error -re -f lavfi -i "testsrc2=size=1280x720:rate=25" -f lavfi -i "sine=frequency=440" \
        -t "$seconds" -c:v mpeg2video -b:v 7500k -maxrate 8000k -bufsize 4000k -c:a mp2 -b:a 128k -f mpegts - |
        tee "$work/sent.ts" | "$banyan" publish cam/test --socket "$work/0.sock" --mode reliable
} >"$work/publish.log" 2>&1 &
publish_pid=$!
wait_for 10 "everyone to be attached" all_attached 9
"$banyan" tree cam/test --socket "$work/0.sock"

for kill in 1 2; do
    sleep $((seconds / 3))
    relay=$(ask 0 tree cam/test | jq -r '[.data.nodes[] | select(.role == "relay")][0].label' | tr -d n)
    say "killing relay n$relay"
    kill -KILL "${node_pid[$relay]}"
    wait "${node_pid[$relay]}" 2>/dev/null || true
    kill "${subscribe_pid[$relay]}" 2>/dev/null || true
    unset "node_pid[$relay]" "subscribe_pid[$relay]"
    wait_for 10 "the survivors to be attached" all_attached $((9 - kill))
done

wait "$publish_pid" || fail "publishing ended with $?"
publish_pid=
bits=$(($(stat -c %s "$work/sent.ts") * 8 / seconds))
say "sent $(stat -c %s "$work/sent.ts") bytes, $((bits / 1000)) kbit/s"
for node in "${!subscribe_pid[@]}"; do
    wait "${subscribe_pid[$node]}" || fail "subscriber $node ended with $?"
    cmp "$work/sent.ts" "$work/$node.ts" || fail "subscriber $node has not what was sent"
    errors=$(ffmpeg -hide_banner -v warning -xerror -i "$work/$node.ts" -f null - 2>&1) || fail "node $node: $errors"
    [[ -z $errors ]] || fail "node $node does not decode cleanly: $errors"
    # Time stamps that jump are what a viewer sees as a discontinuity.
    jumps=$(ffprobe -v error -select_streams v -show_entries packet=dts_time -of default=nokey=1:noprint_wrappers=1 \
        "$work/$node.ts" | awk '/^[0-9.]+$/ { if (n++ && ($1 - last > 0.06 || $1 <= last)) jumps++; last = $1 }
            END { print (n > 100 ? jumps + 0 : "too few packets") }')
    [[ $jumps == 0 ]] || fail "node $node: jumps in time: $jumps"
    say "n$node: byte-identical, decodes without an error, no jump in time"
done
say "${#subscribe_pid[@]} survivors hold the whole stream"
