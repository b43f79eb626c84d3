#!/usr/bin/env bash
# Six hosts on one LAN segment, each a network namespace on a bridge; nothing configured but mDNS.
#
#   tests/netns/lan.sh [path to banyan]
#
# Shows, in order: all six find each other and one stream from host 1 reaches all; a relay's cable
# is pulled and the stream goes on for the others; the host comes back and catches up; the segment
# is cut in two and heals into one tree; nobody has lost or doubled a line.
# Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), iproute2 and jq. Exits 77 where it may not make
# namespaces. Touches only namespaces that it made itself.
set -euo pipefail

banyan=$(realpath "${1:-target/release/banyan}")
hosts=(1 2 3 4 5 6)
tag=bny$$
work=$(mktemp -d)
declare -A subscribe_pid
publish_pid=

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { say "FAILED: $*"; tail -n 5 "$work"/*.log >&2 || true; exit 1; }
inside() { local host=$1; shift; ip netns exec "$tag-h$host" "$@"; }
ask() { local host=$1; shift; inside "$host" "$banyan" "$@" --socket "$work/h$host.sock" --format json; }

cleanup() {
    # Everything in these namespaces was started here.
    for host in "${hosts[@]}"; do ip netns pids "$tag-h$host" 2>/dev/null | xargs -r kill 2>/dev/null || true; done
    [[ -z $publish_pid ]] || kill "$publish_pid" 2>/dev/null || true
    wait 2>/dev/null || true
    for host in "${hosts[@]}"; do ip netns del "$tag-h$host" 2>/dev/null || true; done
    ip netns del "$tag-lan" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

source "$(dirname "$0")/wait_for.sh"

build_lan() {
    ip netns add "$tag-lan" 2>/dev/null || { say "cannot make network namespaces here; skipped"; exit 77; }
    local lan=(ip -n "$tag-lan")
    # Two bridges joined by a cable, so that the segment can be cut in two.
    "${lan[@]}" link add left type bridge
    "${lan[@]}" link add right type bridge
    "${lan[@]}" link add cable type veth peer name elbac
    "${lan[@]}" link set cable master left up
    "${lan[@]}" link set elbac master right up
    "${lan[@]}" link set left up
    "${lan[@]}" link set right up
    for host in "${hosts[@]}"; do
        local side=left
        ((host > 3)) && side=right
        ip netns add "$tag-h$host"
        ip -n "$tag-h$host" link add eth0 type veth peer name "port$host" netns "$tag-lan"
        "${lan[@]}" link set "port$host" master "$side" up
        ip -n "$tag-h$host" address add "10.77.0.$host/24" dev eth0
        ip -n "$tag-h$host" link set lo up
        ip -n "$tag-h$host" link set eth0 up
        ip -n "$tag-h$host" route add 224.0.0.0/4 dev eth0
    done
}

start_node() {
    local host=$1
    inside "$host" "$banyan" run --mesh lan --label "h$host" --data-dir "$work/h$host" --socket "$work/h$host.sock" \
        --capacity 2 --root-slots 2 >"$work/run$host.log" 2>&1 &
}

subscribe() {
    local host=$1
    inside "$host" "$banyan" subscribe feed --socket "$work/h$host.sock" --framing lines --from oldest \
        >"$work/out$host" 2>"$work/subscribe$host.log" &
    subscribe_pid[$host]=$!
}

lines_of() { wc -l <"$work/out$1"; }
has_lines() { (($(lines_of "$1") >= $2)); }
knows_all() { [[ $(ask "$1" peers 2>/dev/null | jq '[.data.peers[] | select(.state == "alive")] | length') == $((${#hosts[@]} - 1)) ]]; }
all_attached() { [[ $(ask 1 tree feed 2>/dev/null | jq '[.data.nodes[] | select(.attached)] | length') == "${#hosts[@]}" ]]; }
goes_on() { # every host but $1 gets another 10 lines
    local cut=$1 host
    for host in "${hosts[@]}"; do
        [[ $host == 1 || $host == "$cut" ]] && continue
        wait_for 15 "host $host to go on receiving" has_lines "$host" $(($(lines_of "$host") + 10))
    done
}

build_lan
for host in "${hosts[@]}"; do start_node "$host"; done
for host in "${hosts[@]}"; do
    wait_for 10 "host $host to know the others" knows_all "$host"
done
say "all ${#hosts[@]} hosts know each other by mDNS alone"

for host in "${hosts[@]:1}"; do subscribe "$host"; done
(for ((i = 0; i < 100000; i++)); do
    [[ -e $work/stop ]] && break
    printf 'line %d %s\n' "$i" "$RANDOM"
    sleep 0.1
done | tee "$work/sent" | inside 1 "$banyan" publish feed --socket "$work/h1.sock" --framing lines --mode reliable) \
    >"$work/publish.log" 2>&1 &
publish_pid=$!
wait_for 10 "everyone to be attached" all_attached
goes_on 0
say "one stream from host 1 reaches all"
inside 1 "$banyan" tree feed --socket "$work/h1.sock"

relay=$(ask 1 tree feed | jq -r '[.data.nodes[] | select(.role == "relay")][0].label' | tr -d h)
[[ -n $relay && $relay != null ]] || fail "no relay in the tree"
ip -n "$tag-lan" link set "port$relay" down
say "pulled the cable of relay h$relay"
goes_on "$relay"
say "the stream went on without it"
before=$(lines_of "$relay")
ip -n "$tag-lan" link set "port$relay" up
wait_for 30 "host $relay to receive again" has_lines "$relay" $((before + 10))
wait_for 30 "everyone to be attached again" all_attached
say "h$relay is back and has caught up"

ip -n "$tag-lan" link set cable down
say "cut the segment in two: h1 h2 h3 | h4 h5 h6"
# Long enough for each half to declare the other dead, and a third of what the rings hold.
meanwhile=$(($(lines_of 2) + 70))
for host in 2 3; do
    wait_for 20 "host $host to go on receiving" has_lines "$host" "$meanwhile"
done
left_alone=$(lines_of 4)
ip -n "$tag-lan" link set cable up
for host in 4 5 6; do
    wait_for 30 "host $host to receive again" has_lines "$host" $((left_alone + 80))
done
wait_for 30 "one tree again" all_attached
say "healed into one tree"
inside 1 "$banyan" tree feed --socket "$work/h1.sock"

touch "$work/stop"
wait "$publish_pid" || fail "publish ended with $?"
for host in "${hosts[@]:1}"; do
    wait "${subscribe_pid[$host]}" || fail "the subscriber of host $host ended with $?"
    unset "subscribe_pid[$host]"
    cmp "$work/sent" "$work/out$host" || fail "host $host has not what was sent"
done
publish_pid=
say "$(wc -l <"$work/sent") lines sent; all five subscribers hold exactly those"
