#!/usr/bin/env bash
# The library between hosts with links of limited rates: each host a network namespace on a bridge, its uplink limited
# by a token bucket.
#
#   tests/netns/library.sh [path to banyan] [scenario…]
#
# rates     four sources of 100, 100, 100 and 10 Mbit/s, a receiver of 400: at least 250 Mbit/s arrive
# killed    one of two sources is killed at half: no pause over 500 ms
# slow      one of two sources drops to 50 kB/s at half: the last 1 % takes at most 2 % of the time + 1 s, and at most 1 %
#           comes twice
# push      from one node with an uplink of 80 Mbit/s to 20: the last has all within 1.5 times of what one copy takes at
#           that rate, and the source sends at most 1.7 times the size
# beside    a push as above beside iroh-blobs, which has the same hosts and links: Banyan is at least 1.5 times as fast
# live      a live track and three downloads leave one node: the track's objects take at most 50 ms more than alone at
#           the 99th percentile, and none is missing
# shapes    10,000 files of 16 KiB; 20 GiB of which a few pieces are no hole, a name of 255 bytes and an empty file
# full      a disk that is full in the middle: the job says so, and goes on with what it has when there is room
#
# Without a scenario all of them, and a table. `beside` needs BLOBS=path to the binary `blobs` of tests/bench (`cargo build
# --release -p banyan-bench-blobs` there), and is skipped without it; MIB, MBIT, NODES and PART (KiB of a part of iroh-blobs;
# each is tried, and the best counts) are its sizes. Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), iproute2, curl and jq,
# and 6 GiB in FOLDER (default /dev/shm). Exits 77 where it may not make namespaces, 1 if a limit is not kept. Touches only
# namespaces that it made itself.
set -euo pipefail

banyan=$(realpath "${1:-target/release/banyan}")
shift || true
scenarios=("${@:-}")
[[ -n ${scenarios[0]} ]] || scenarios=(rates killed slow push beside live shapes full)
tag=bnl$$
work=$(mktemp -d "${FOLDER:-/dev/shm}/banyan-library.XXXXXX")
bridge=$tag-lan
hosts=()
table=()
failed=0

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { say "FAILED: $*"; tail -n 5 "$work"/*.log >&2 || true; exit 1; }
inside() { local host=$1; shift; ip netns exec "$tag-h$host" "$@"; }
api() { local host=$1; shift; curl -sS --unix-socket "$work/h$host.sock" "http://banyan/v1/library$1" "${@:2}"; }

drop_hosts() {
    # Everything in these namespaces was started here.
    local host
    for host in "${hosts[@]}"; do ip netns pids "$tag-h$host" 2>/dev/null | xargs -r kill -9 2>/dev/null || true; done
    wait 2>/dev/null || true
    for host in "${hosts[@]}"; do ip netns del "$tag-h$host" 2>/dev/null || true; done
    ip netns del "$bridge" 2>/dev/null || true
    hosts=()
    # Of `full`.
    umount "$work/h1" 2>/dev/null || true
    rm -rf "$work"/h*
}
cleanup() { drop_hosts; rm -rf "$work"; }
trap cleanup EXIT

source "$(dirname "$0")/wait_for.sh"

limit() { # device rate command…: limits what leaves it
    local device=$1 rate=$2
    shift 2
    "$@" qdisc replace dev "$device" root tbf rate "$rate" burst 64kb latency 30ms
}

build() { # uplink of each host
    ip netns add "$bridge" 2>/dev/null || { say "cannot make network namespaces here; skipped"; exit 77; }
    ip -n "$bridge" link add lan type bridge
    ip -n "$bridge" link set lan up
    local host=0 uplink
    for uplink in "$@"; do
        host=$((host + 1))
        hosts+=("$host")
        ip netns add "$tag-h$host"
        ip -n "$tag-h$host" link add eth0 type veth peer name "port$host" netns "$bridge"
        ip -n "$bridge" link set "port$host" master lan up
        ip -n "$tag-h$host" address add "10.79.0.$host/24" dev eth0
        ip -n "$tag-h$host" link set lo up
        ip -n "$tag-h$host" link set eth0 up
        [[ $uplink == - ]] || limit eth0 "$uplink" tc -n "$tag-h$host"
    done
}

start_node() {
    local host=$1
    mkdir -p "$work/h$host"
    inside "$host" "$banyan" run --mesh library --label "h$host" --data-dir "$work/h$host.state" --socket "$work/h$host.sock" \
        --no-mdns --listen "/ip4/10.79.0.$host/tcp/4101" --bootstrap 10.79.0.1:4101 --library "$work/h$host" \
        --library-accept all >"$work/run$host.log" 2>&1 &
}

package() { # host MiB
    mkdir -p "$work/h$1/set"
    [[ -e $work/set.$2 ]] || head -c "${2}M" /dev/urandom >"$work/set.$2"
    cp "$work/set.$2" "$work/h$1/set/data.bin"
    printf 'name=set\nversion=1\n' >"$work/h$1/set/version.ini"
}

sources_of() { api "$1" '' | jq --arg name "$2" '[.data.titles[] | select(.name == $name) | .versions[0].peers | length][0] // 0'; }
sees() { [[ $(sources_of "$1" "${3:-set}" 2>/dev/null) == "$2" ]]; }
job() { api "$1" "/jobs/1" | jq -c .data; }
get() { api "$1" /get -d "{\"package\":\"${2:-set}\"}" >/dev/null; }

# Writes the time and the bytes that came to a host 50 times a second, with those of its job that are stored and its state
# as they were last asked, until it is over. Ahead of what it measures, for the machine may be busy.
sample() {
    inside "$1" nice -n -10 bash -c '
        exec {never}<> <(:)
        for ((turn = 0;; turn++)); do
            if ((turn % 5 == 0)); then
                job=$(curl -sS --unix-socket "$0" http://banyan/v1/library/jobs/1)
                stored=${job#*\"bytes\":} stored=${stored%%,*} state=${job#*\"state\":\"} state=${state%%\"*}
            fi
            read -r came </sys/class/net/eth0/statistics/rx_bytes
            echo "$EPOCHREALTIME $came $stored $state"
            [[ $state == running || $state == waiting ]] || break
            read -r -t 0.02 -u "$never" || true
        done' "$work/h$1.sock"
}
at_half() { [[ $(job "$1" | jq '.bytes * 2 >= .bytes_total and .bytes > 0') == true ]]; }

verdict() { # scenario what-was-measured limit kept?
    local word=kept
    (($4)) || { word=BROKEN; failed=1; }
    table+=("$(printf '%-8s %-58s %-36s %s' "$1" "$2" "$3" "$word")")
    say "${table[-1]}"
}
is() { awk "BEGIN { exit !($1) }" && echo 1 || echo 0; }

run_rates() {
    local mib=256 host
    build - 100mbit 100mbit 100mbit 10mbit
    limit port1 400mbit tc -n "$bridge"
    for host in 2 3 4 5; do package "$host" "$mib"; done
    for host in 1 2 3 4 5; do start_node "$host"; done
    wait_for 60 "four sources to be known" sees 1 4
    get 1
    sample 1 >"$work/samples"
    local took rate
    took=$(job 1 | jq .took_s)
    rate=$(awk "BEGIN { printf \"%.0f\", $mib * 8.388608 / $took }")
    verdict rates "$mib MiB in $(printf %.1f "$took") s: $rate Mbit/s of 310" "at least 250 Mbit/s" "$(is "$rate >= 250")"
    api 1 /jobs/1 | jq -r '.data.sources[] | "            \(.label): \(.bytes / 1048576 | floor) MiB"'
}

two_sources() {
    local host
    build - 100mbit 100mbit
    for host in 2 3; do package "$host" 192; done
    for host in 1 2 3; do start_node "$host"; done
    wait_for 60 "two sources to be known" sees 1 2
    get 1
    sample 1 >"$work/samples" &
    sampler=$!
    wait_for 60 "half to be there" at_half 1
}

run_killed() {
    two_sources
    ip netns pids "$tag-h3" | xargs -r kill -9
    wait "$sampler"
    [[ $(job 1 | jq -r .state) == done ]] || fail "the job is not done"
    # The longest time in which less than 64 KiB came, while pieces were missing.
    local pause
    pause=$(awk '$4 == "running" && $3 < 192 * 1048576 {
        if (!at) { at = $1; bytes = $2 }
        if ($2 - bytes >= 65536) { if ($1 - at > most) most = $1 - at; at = $1; bytes = $2 }
    } END { printf "%.0f", most * 1000 }' "$work/samples")
    [[ -z ${KEEP:-} ]] || cp "$work/samples" "$KEEP"
    verdict killed "longest pause $pause ms" "at most 500 ms" "$(is "$pause <= 500")"
}

run_slow() {
    two_sources
    limit eth0 400kbit tc -n "$tag-h3"
    wait "$sampler"
    local took last twice
    took=$(job 1 | jq .took_s)
    last=$(awk '$3 < 0.99 * 192 * 1048576 { at = $1 } { end = $1 } END { printf "%.2f", end - at }' "$work/samples")
    twice=$(job 1 | jq '.duplicate_bytes * 1000 / .bytes_total | round / 10')
    verdict slow "of $(printf %.1f "$took") s the last 1 % took $last s" "at most 2 % + 1 s" "$(is "$last <= 0.02 * $took + 1")"
    verdict slow "$twice % came twice" "at most 1 %" "$(is "$twice <= 1")"
}

takers_known() { [[ $(api 1 '' | jq '[.data.titles[] | select(.name | startswith("own")) | .peers] | add') == "$1" ]]; }
has_set() { [[ $(api 1 '' | jq '[.data.titles[] | select(.name == "set") | .versions[0].here][0]') == '"complete"' ]]; }
push_over() { [[ $(job 1 | jq -r .state) != @(running|waiting) ]]; }
newest() { api "$1" /jobs | jq -c '.data.jobs[0]'; }
newest_over() { [[ $(newest "$1" | jq -r .state) != @(running|waiting) ]]; }
sent() { inside "${1:-1}" cat /sys/class/net/eth0/statistics/tx_bytes; }

# A node with an uplink that pushes, and so many that take it, each with a package of its own by which it is known.
pushing() { # Mbit/s MiB nodes
    local host
    build "$1mbit" $(for ((host = 0; host < $3; host++)); do echo -; done)
    package 1 "$2"
    for ((host = 1; host <= $3 + 1; host++)); do
        if ((host > 1)); then
            mkdir -p "$work/h$host/own"
            printf 'name=own\nversion=%d\n' "$host" >"$work/h$host/own/version.ini"
        fi
        start_node "$host"
    done
    wait_for 90 "everybody to be known" takers_known "$3"
    wait_for 60 "the package to be read" has_set
    api 1 /push -d '{"package":"set","to":"all"}' >/dev/null
    wait_for 300 "the push to end" push_over
    [[ $(job 1 | jq -r .state) == done ]] || { job 1 | jq . >&2; fail "the push failed"; }
}

run_push() {
    local mib=${MIB:-128} mbit=${MBIT:-80} nodes=20 host took copy factor
    pushing "$mbit" "$mib" "$nodes"
    took=$(job 1 | jq .took_s)
    copy=$(awk "BEGIN { printf \"%.1f\", $mib * 8.388608 / $mbit }")
    # With all that the source said before.
    factor=$(awk "BEGIN { printf \"%.2f\", $(sent) / $mib / 1048576 }")
    verdict push "$mib MiB to $nodes in $(printf %.1f "$took") s, one copy takes $copy s" "at most 1.5 times as long" \
        "$(is "$took <= 1.5 * $copy")"
    verdict push "the source sent $factor times the size" "at most 1.7 times" "$(is "$factor <= 1.7")"
    # What the targets kept of it, of one size, and what came to them twice from anybody, of all that came.
    for ((host = 2; host <= nodes + 1; host++)); do job "$host"; done | jq -s -r '
        "            kept from the source: \([.[].sources[] | select(.label == "h1") | .bytes] | add / '"$mib"' / 10485.76 | round / 100) times the size, " +
        "came twice: \([.[].duplicate_bytes] | add / 10485.76 | round / 100) MiB"'
}

# Has iroh-blobs bring a file to so many hosts. They ask the source alone, or all others as well, in any order or the
# source last. Sets `took`, to nothing if it is not done in so many seconds, and `sent_times`.
blobs() { # Mbit/s MiB nodes KiB-of-a-part source|all|last seconds
    local host other begun start providers last=$(($3 + 1))
    build "$1mbit" $(for ((host = 0; host < $3; host++)); do echo -; done)
    rm -f "$work"/said.* "$work/parts" "$work/start"
    mkfifo "$work/start"
    exec {start}<>"$work/start"
    [[ -e $work/set.$2 ]] || head -c "${2}M" /dev/urandom >"$work/set.$2"
    inside 1 "$BLOBS" serve --number 1 --listen 10.79.0.1:4102 --store "$work/h1.blobs" --part $(($4 * 1024)) \
        --parts "$work/parts" "$work/set.$2" >"$work/said.1" 2>"$work/blobs1.log" {start}>&- &
    said() { (($(cat "$work"/said.* 2>/dev/null | grep -c "^$1") == $2)); }
    wait_for 60 "the source of iroh-blobs to be ready" said ready 1
    for ((host = 2; host <= last; host++)); do
        providers=(--source 1=10.79.0.1:4102)
        [[ $5 != last ]] || providers+=(--source-last)
        for ((other = 2; other <= last; other++)); do
            [[ $5 == source || $other == "$host" ]] || providers+=(--other "$other=10.79.0.$other:4102")
        done
        inside "$host" "$BLOBS" fetch --number "$host" --listen "10.79.0.$host:4102" --store "$work/h$host.blobs" \
            --parts "$work/parts" "${providers[@]}" --out "$work/h$host.out" \
            <"$work/start" >"$work/said.$host" 2>"$work/blobs$host.log" {start}>&- &
    done
    wait_for 60 "the receivers of iroh-blobs to be ready" said ready "$last"
    begun=$EPOCHREALTIME
    exec {start}>&-
    until said done "$3"; do
        took=$(awk "BEGIN { print $EPOCHREALTIME - $begun }")
        (($(is "$took < $6"))) || { took=; return; }
        sleep 0.1
    done
    took=$(cat "$work"/said.* | awk -v begun="$begun" '$1 == "done" && $2 > end { end = $2 }
        END { printf "%.1f", end - begun }')
    sent_times=$(awk "BEGIN { printf \"%.2f\", $(sent) / $2 / 1048576 }")
    wait_for 60 "the file to be written" said written "$3"
    for ((host = 2; host <= last; host++)); do
        cmp "$work/h$host.out" "$work/set.$2" || fail "it is not what was sent"
    done
}

run_beside() {
    if [[ -z ${BLOBS:-} ]]; then
        say "beside: skipped, for it needs BLOBS=path to the binary \`blobs\` of tests/bench"
        return
    fi
    local mib=${MIB:-64} mbit=${MBIT:-80} nodes=${NODES:-8} part providers took sent_times banyan_took best best_of setting settings
    pushing "$mbit" "$mib" "$nodes"
    banyan_took=$(job 1 | jq '.took_s * 10 | round / 10')
    say "banyan push: $banyan_took s, the source sent $(awk "BEGIN { printf \"%.2f\", $(sent) / $mib / 1048576 }") times the size"
    drop_hosts
    settings=("source 1024")
    for part in ${PART:-16 64 256}; do settings+=("all $part" "last $part"); done
    for setting in "${settings[@]}"; do
        read -r providers part <<<"$setting"
        blobs "$mbit" "$mib" "$nodes" "$part" "$providers" "${best:-600}"
        if [[ -n $took ]]; then
            say "iroh-blobs, parts of $part KiB, providers: $providers: $took s, the source sent $sent_times times the size"
            best=$took best_of="$providers, $part KiB"
        else
            say "iroh-blobs, parts of $part KiB, providers: $providers: not done after ${best:-600} s"
        fi
        drop_hosts
    done
    [[ -n ${best:-} ]] || fail "iroh-blobs was not done in time"
    local ratio
    ratio=$(awk "BEGIN { printf \"%.2f\", $best / $banyan_took }")
    verdict beside "$mib MiB to $nodes: $banyan_took s, iroh-blobs $best s ($best_of): $ratio times" "at least 1.5 times faster" \
        "$(is "$ratio >= 1.5")"
}

run_full() {
    local before
    build - -
    package 2 192
    mkdir -p "$work/h1"
    mount -t tmpfs -o size=96m none "$work/h1"
    for host in 1 2; do start_node "$host"; done
    wait_for 60 "the source to be known" sees 1 1
    get 1
    wait_for 60 "the job to end" push_over
    before=$(job 1 | jq -r '"\(.state) \(.error.code)"')
    verdict full "$(job 1 | jq -r '"\(.bytes / 1048576 | floor) MiB there: \(.error.message)"' | cut -c1-57)" "failed disk_full" \
        "$(awk "BEGIN { print \"$before\" == \"failed disk_full\" }")"
    mount -o remount,size=512m "$work/h1"
    get 1
    done_again() { [[ $(api 1 /jobs/2 | jq -r .data.state) == done ]]; }
    wait_for 60 "the second job to be done" done_again
    cmp "$work/h1/set/data.bin" "$work/set.192" || fail "it is not what was sent"
    verdict full "$(api 1 /jobs/2 | jq -r '.data.sources | map(.bytes) | add / 1048576 | floor') MiB came after there was room" \
        "less than 192 MiB" "$(is "$(api 1 /jobs/2 | jq '.data.sources | map(.bytes) | add / 1048576') < 190")"
}

# Runs a live track from host 1 to host 2 for some seconds, and says how long its objects took, in milliseconds: the
# median, the 99th percentile, the longest; and how many are missing.
live_track() { # name objects-a-second size seconds
    BANYAN_SOCKET=$work/h2.sock inside 2 "$banyan" bench subscribe "live/$1" --seconds "$4" --format json >"$work/live.$1" &
    local subscriber=$!
    BANYAN_SOCKET=$work/h1.sock inside 1 "$banyan" bench publish "live/$1" --mode live --rate "$2" --size "$3" \
        --seconds "$(($4 + 2))" >/dev/null
    wait "$subscriber" || true
    jq -r '.data | "\(.latency_ms.p50) \(.latency_ms.p99) \(.latency_ms.max) \(.lost)"' "$work/live.$1"
}

run_live() {
    local mbit=${MBIT:-100} host kind quiet busy before bulk
    build "${mbit}mbit" - - -
    package 1 "$((mbit * 4))"
    for host in 1 2 3 4; do start_node "$host"; done
    for host in 2 3 4; do wait_for 60 "the source to be known" sees "$host" 1; done
    # Of the link a hundredth and a half.
    for kind in "small 200 1KiB" "large $((mbit * 4)) 16KiB"; do
        quiet=$(live_track "${kind%% *}-alone" ${kind#* } 6)
        for host in 2 3 4; do get "$host"; done
        before=$(sent)
        busy=$(live_track $kind 6)
        bulk=$(awk "BEGIN { printf \"%.0f\", ($(sent) - $before) * 8 / 1e6 / 8 }")
        for host in 2 3 4; do
            [[ $(api "$host" /jobs | jq -r '.data.jobs[0].state') == running ]] || fail "a package was there before the track ended"
            api "$host" "/jobs/$(api "$host" /jobs | jq '.data.jobs[0].id')/cancel" -X POST >/dev/null
        done
        say "${kind%% *}: p50, p99, longest in ms, missing: $quiet; beside three downloads $busy, the link carries $bulk Mbit/s"
        read -r _ quiet_p99 _ quiet_lost <<<"$quiet"
        read -r busy_p50 busy_p99 _ busy_lost <<<"$busy"
        verdict live "${kind%% *}: p99 alone $quiet_p99 ms, beside three downloads $busy_p99 ms" "at most 50 ms more" \
            "$(is "$busy_p99 <= $quiet_p99 + 50")"
        verdict live "${kind%% *}: objects missing alone $quiet_lost, beside three downloads $busy_lost" "none" \
            "$(is "$busy_lost == 0")"
    done
}

# Fetches a package to host 1 from host 2.
shape() { # package what-it-is limit-on-what-was-sent-in-MiB limit-on-the-disk-in-MiB
    local before mib disk took
    wait_for 300 "$1 to be known" sees 1 1 "$1"
    before=$(sent 2)
    get 1 "$1"
    wait_for 600 "$1 to be there" newest_over 1
    [[ $(newest 1 | jq -r .state) == done ]] || { newest 1 | jq . >&2; fail "$1 did not come"; }
    took=$(newest 1 | jq .took_s)
    mib=$(awk "BEGIN { printf \"%.0f\", ($(sent 2) - $before) / 1048576 }")
    disk=$(du -sm "$work/h1/$1" | cut -f1)
    verdict shapes "$2: $(printf %.1f "$took") s, $mib MiB sent, $disk on disk" "$3 sent, $4 on disk" "$(is "$mib <= $3 && $disk <= $4")"
}

run_shapes() {
    local long at
    build - -
    mkdir -p "$work/h2/many" "$work/h2/sparse"
    head -c 163840000 /dev/urandom | split -b 16K -a 4 - "$work/h2/many/file"
    printf 'name=many\nversion=1\n' >"$work/h2/many/version.ini"
    truncate -s 20G "$work/h2/sparse/disk"
    for at in 0 7 13 19; do
        head -c 3M /dev/urandom | dd of="$work/h2/sparse/disk" bs=1M seek=$((at * 1024 + 500)) conv=notrunc status=none
    done
    long=$(printf 'n%.0s' {1..255})
    echo long >"$work/h2/sparse/$long"
    : >"$work/h2/sparse/empty"
    printf 'name=sparse\nversion=1\n' >"$work/h2/sparse/version.ini"
    for host in 1 2; do start_node "$host"; done
    shape many "10,000 files of 16 KiB" 180 250
    diff -r -x .banyan-package "$work/h1/many" "$work/h2/many" || fail "it is not what was sent"
    shape sparse "20 GiB with 12 MiB of data" 40 20
    [[ $(cat "$work/h1/sparse/$long") == long && -e $work/h1/sparse/empty && ! -s $work/h1/sparse/empty ]] || fail "a file is missing"
    for at in 0 7 13 19; do
        for host in 1 2; do dd if="$work/h$host/sparse/disk" bs=1M skip=$((at * 1024 + 499)) count=5 status=none | md5sum; done |
            uniq -c | grep -q '^ *2 ' || fail "it is not what was sent"
    done
}

for scenario in "${scenarios[@]}"; do
    say "$scenario"
    "run_$scenario"
    drop_hosts
done
printf '%s\n' "${table[@]}"
exit "$failed"
