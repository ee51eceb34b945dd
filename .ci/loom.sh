#!/usr/bin/env bash
# The models of everything with waking or atomics of its own, in a target directory of their own
# because the cfg rebuilds the world.
set -euo pipefail

export RUSTFLAGS="--cfg headworks_loom"
export CARGO_TARGET_DIR=target/loom
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --locked --release --lib loom_ 2>&1 | tee "$log"
grep -q '^test result: ok\. [1-9]' "$log" || { echo "no loom model ran"; exit 1; }
