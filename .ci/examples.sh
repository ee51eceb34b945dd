#!/usr/bin/env bash
# Every example runs, as its default, and ends well. They are built as the tests are, which have built
# nearly all of it already.
set -euo pipefail

cargo build --locked --profile test --all-features --examples
examples=0
for path in examples/*.rs examples/*/main.rs; do
    [ -e "$path" ] || continue
    name=${path#examples/}
    name=${name%/main.rs}
    name=${name%.rs}
    echo "-- $name"
    timeout 300 "${CARGO_TARGET_DIR:-target}/debug/examples/$name"
    examples=$((examples + 1))
done
[ "$examples" -gt 0 ] || { echo "no example is there"; exit 1; }
