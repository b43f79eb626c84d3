#!/usr/bin/env bash
# A newcomer with two machines: follows the README's "Two machines, two terminals" to the letter, in two
# fresh network namespaces joined by a cable, and times it, from nothing but the binary to bytes that
# stream on the second machine. It fails if that takes longer than a minute.
#
#   tests/netns/newcomer.sh [path to banyan]
#
# The commands are read from the README. Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and iproute2. Exits
# 77 where it may not make namespaces. Touches only namespaces that it made itself.
set -euo pipefail

banyan=$(realpath "${1:-target/release/banyan}")
readme=$(dirname "$0")/../../README.md
limit_s=60
tag=bnn$$
work=$(mktemp -d)
start=${EPOCHREALTIME/[.,]/}

# Milliseconds since the start.
since() { echo $(((${EPOCHREALTIME/[.,]/} - start) / 1000)); }
say() { printf '%6d ms  %s\n' "$(since)" "$*"; }
fail() { say "FAILED: $*"; tail -n 5 "$work"/*/*.log >&2 || true; exit 1; }

cleanup() {
    # Everything in these namespaces was started here.
    for host in a b; do ip netns pids "$tag-$host" 2>/dev/null | xargs -r kill 2>/dev/null || true; done
    wait 2>/dev/null || true
    for host in a b; do ip netns del "$tag-$host" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

build() {
    ip netns add "$tag-a" 2>/dev/null || { echo "cannot make network namespaces here; skipped"; exit 77; }
    ip netns add "$tag-b"
    ip -n "$tag-a" link add eth0 type veth peer name eth0 netns "$tag-b"
    local nth=1
    for host in a b; do
        ip -n "$tag-$host" addr add "10.77.0.$nth/24" dev eth0
        ip -n "$tag-$host" link set lo up
        ip -n "$tag-$host" link set eth0 up
        ip -n "$tag-$host" route add default dev eth0
        mkdir -p "$work/$host/home" "$work/$host/run" "$work/$host/bin"
        # Nothing but the binary.
        cp "$banyan" "$work/$host/bin/banyan"
        nth=$((nth + 1))
    done
}

# A shell of the newcomer on a machine, in the background: typed HOST NAME COMMAND
typed() {
    local host=$1 name=$2 command=$3
    say "machine ${host^}: $command"
    ip netns exec "$tag-$host" env -i PATH="$work/$host/bin:/usr/bin:/bin" HOME="$work/$host/home" \
        XDG_RUNTIME_DIR="$work/$host/run" bash -c "$command" >"$work/$host/$name.out" 2>"$work/$host/$name.log" &
}

# The commands of the README: those that begin so, in its section on two machines.
command_of() {
    local line
    line=$(sed -n '/^## Two machines/,/^## /p' "$readme" | grep -m1 -F "$1") || fail "the README does not say: $1"
    printf '%s\n' "$line"
}

wait_for() {
    local what=$1
    shift
    until "$@"; do
        (($(since) < limit_s * 1000)) || fail "not within $limit_s s: $what"
        sleep 0.05
    done
    say "$what"
}

run=$(command_of 'banyan run --label')
publish=$(command_of '| banyan publish demo/clock')
subscribe=$(command_of 'banyan subscribe demo/clock')

build
start=${EPOCHREALTIME/[.,]/}
typed a run "$run"
typed b run "$run"
wait_for "machine A says that it runs" grep -q 'banyan publish' "$work/a/run.out"
wait_for "machine B says that it runs" grep -q 'banyan subscribe' "$work/b/run.out"
typed a publish "$publish"
typed b subscribe "$subscribe"
wait_for "the first line is on machine B" test -s "$work/b/subscribe.out"
streams_ms=$(since)
wait_for "five lines are" bash -c "[[ \$(wc -l <'$work/b/subscribe.out') -ge 5 ]]"
ip netns exec "$tag-b" env HOME="$work/b/home" XDG_RUNTIME_DIR="$work/b/run" "$work/b/bin/banyan" tree demo/clock
echo "streams on the second machine after $streams_ms ms, $limit_s s allowed (typing not counted)"
