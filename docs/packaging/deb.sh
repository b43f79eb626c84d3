#!/bin/sh
# Builds the .deb: docs/packaging/deb.sh, with cargo-deb installed. It lies in target/debian in the end.
set -eu
cd "$(dirname "$0")/../.."
cargo build --locked --release -p banyan-node
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/release/deb"
"$target/release/banyan" man "$target/release/deb/man"
for shell in bash zsh fish; do
    "$target/release/banyan" completions "$shell" >"$target/release/deb/banyan.$shell"
done
exec cargo deb -p banyan-node --no-build
