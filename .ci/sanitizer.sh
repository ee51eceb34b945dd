#!/usr/bin/env bash
# The tests of the rooms that have unsafe code, under AddressSanitizer (which finds leaks too), in a
# target directory of their own because the flag rebuilds the world.
set -euo pipefail

export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR=target/sanitizer
# A suppression goes by names on the stack, which line tables do not tell.
export CARGO_PROFILE_TEST_DEBUG=full CARGO_PROFILE_TEST_LTO=false
export LSAN_OPTIONS="suppressions=$PWD/.ci/leaks.txt"
host=$(rustc -vV | sed -n 's/^host: //p')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --locked --features test-util --target "$host" --lib -- worker_pool:: 2>&1 | tee "$log"
cargo test --locked --features test-util --target "$host" --test worker_pool 2>&1 | tee -a "$log"
cargo test --locked --features test-util --target "$host" --lib -- object_pool:: 2>&1 | tee -a "$log"
cargo test --locked --features test-util --target "$host" --test object_pool 2>&1 | tee -a "$log"
[ "$(grep -c '^test result: ok\. [1-9]' "$log")" = 4 ] || { echo "no test ran"; exit 1; }
