#!/usr/bin/env bash
# A mesh of many nodes in one program on this machine, all of which follow one track: how long its start takes, what it
# costs at rest, and how soon one of the nodes answers the commands that people watch it with.
#
#   tests/crowd.sh [nodes] [calls of each kind] [folder of the programs]
#
# Build first: cargo build --release -p banyan-node --bins --example crowd
# Exits 1 if 95 % of the answers of a kind take longer than 50 ms. Needs curl and jq.
set -euo pipefail

nodes=${1:-200} calls=${2:-50} programs=$(realpath "${3:-target/release}")
limit_ms=50 track=demo/crowd
work=$(mktemp -d)
socket=$work/crowd.sock
trap 'kill "$crowd" 2>/dev/null || true; wait "$crowd" 2>/dev/null || true; rm -rf "$work"' EXIT

"$programs/examples/crowd" "$nodes" "$socket" >"$work/out" 2>&1 &
crowd=$!
until grep -q answers "$work/out"; do
    kill -0 "$crowd" 2>/dev/null || { cat "$work/out" >&2; exit 1; }
    sleep 0.1
done
cat "$work/out"

get() { curl -sS --unix-socket "$socket" "http://banyan$1"; }
# Processor time of the crowd so far, in ticks.
ticks() { awk '{ print $14 + $15 }' "/proc/$crowd/stat"; }
# Share of one core that all nodes take for some seconds.
cost() {
    local seconds=$1 before
    before=$(ticks)
    sleep "$seconds"
    awk -v spent=$(($(ticks) - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" -v n="$nodes" \
        'BEGIN { all = 100 * spent / hz / s; printf "%.0f %% of a core, %.2f %% a node", all, all / n }'
}
links() { get /v1/status | jq .data.links; }
attached() { get "/v1/tracks/$track/tree" | jq '[.data.nodes[] | select(.attached)] | length'; }
# Prints the median and the 95th percentile of lines of seconds in ms.
percentiles() {
    sort -n | awk '{ v[NR] = 1000 * $1 } END { printf "%8.1f %8.1f\n", v[int(NR / 2 + 0.5)], v[int(0.95 * NR + 0.5)] }'
}
seconds_of() {
    local start=$EPOCHREALTIME
    "$@" >/dev/null
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}

echo "attached: $(attached) of $nodes; the first node, by which all others joined, has $(links) links"
echo "the first 10 s: $(cost 10)"
sleep "${SETTLE:-60}"
echo "${SETTLE:-60} s later: $(cost 10); attached: $(attached); links of the first node: $(links)"

missed=0
printf '\n%-28s %8s %8s   (ms, %s calls)\n' "" median "95 %" "$calls"
measure() {
    local name=$1 figures
    shift
    figures=$(for ((nth = 0; nth < calls; nth++)); do "$@"; done | percentiles)
    printf '%-28s %s\n' "$name" "$figures"
    awk -v p95="${figures##* }" -v limit="$limit_ms" 'BEGIN { exit !(p95 > limit) }' && missed=1 || true
}
for what in status peers "tree $track"; do
    path=/v1/${what%% *}
    [[ $what == tree* ]] && path=/v1/tracks/$track/tree
    measure "GET $path" curl -sS -o "$work/answer" -w '%{time_total}\n' --unix-socket "$socket" "http://banyan$path"
    # shellcheck disable=SC2086
    measure "banyan $what" seconds_of "$programs/banyan" $what --socket "$socket"
done
exit "$missed"
