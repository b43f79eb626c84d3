#!/usr/bin/env bash
# Breaks the program on purpose, one way at a time: the simulator has to notice each.
#
#   tests/mutations/run.sh [mutation ...]
#
# A mutation is a patch beside this script. The lines before its first `diff` say what is broken; those
# that begin with `Run:` are runs of the simulator in which it must show. Without the mutation, the same
# runs must be clean. Everything happens in a copy of the tracked files, with a target folder of its own:
# cargo would take what was built of a broken copy for what a whole one needs. Exits 1 if a mutation
# stays unnoticed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$work/target
# A build for each mutation: quick to make rather than quick.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
# A mutation may well make the machines spin.
limit_s=300

build() {
    (cd "$work/tree" && cargo build --quiet --locked --release -p banyan-tests --bin sim)
    cp "$CARGO_TARGET_DIR/release/sim" "$work/sim"
}

# Says how many runs there were and how many showed a violation, then what the first of them said.
# Fails if there was none.
noticed() {
    local code=0
    # shellcheck disable=SC2086 # the arguments are words
    timeout "$limit_s" "$work/sim" $1 --quiet >"$work/log" 2>&1 || code=$?
    case $code in
        0) return 1 ;;
        8) sed -nE 's/^([0-9]+) runs of .*, ([0-9]+) violations.*/\2 of \1 runs/p' "$work/log"
           sed -nE '/^VIOLATED/{s/^VIOLATED (.*); replay: .* -- (.*)/    \1 [sim \2]/p;q}' "$work/log" ;;
        *) echo "sim $1 ended with code $code:" >&2; tail -n 3 "$work/log" >&2; exit 1 ;;
    esac
}

runs_of() { sed -n '/^diff /q; s/^Run: //p' "$1"; }

(($#)) || set -- "$here"/*.patch
patches=()
for name; do patches+=("$here/$(basename "$name" .patch).patch"); done

mkdir "$work/tree"
(cd "$here/../.." && git ls-files -z | tar --null -T - -c) | tar -x -C "$work/tree"
build
mapfile -t all < <(for patch in "${patches[@]}"; do runs_of "$patch"; done | sort -u)
for run in "${all[@]}"; do
    if what=$(noticed "$run"); then
        printf 'without any mutation, sim %s: %s\n' "$run" "$what" >&2
        exit 1
    fi
done
printf '%-24s clean: %d sets of runs\n' "none" "${#all[@]}"

missed=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    (cd "$work/tree" && git apply -C1 "$patch")
    build
    found=
    while read -r run; do
        if found=$(noticed "$run"); then break; fi
    done < <(runs_of "$patch")
    printf '%-24s %s\n' "$name" "${found:-NOT NOTICED}"
    [[ -n $found ]] || missed=1
    (cd "$work/tree" && git apply -C1 -R "$patch")
done
exit "$missed"
