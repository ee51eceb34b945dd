#!/usr/bin/env bash
# A smoke test of every fuzz target from its seeds: SECONDS each. On the stable toolchain, whose
# sanitizer flags RUSTC_BOOTSTRAP opens.
set -euo pipefail

seconds=${1:?seconds for each target}
export RUSTC_BOOTSTRAP=1
cargo fuzz --version || timeout 900 env -u RUSTC_BOOTSTRAP cargo install --locked cargo-fuzz@0.13.2

targets=$(cargo fuzz list)
[ -n "$targets" ] || { echo "no fuzz target is there"; exit 1; }
for target in $targets; do
    echo "-- $target"
    mkdir -p "fuzz/corpus/$target"
    timeout 1200 cargo fuzz build "$target"
    # Finds go to the corpus, which git ignores; the seeds are only read.
    timeout $((seconds + 120)) cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" \
        -- -max_total_time="$seconds" -max_len=1024 -seed=1 -print_final_stats=1 -verbosity=0
done
