#!/usr/bin/env bash
# Every example runs, as its default, and ends well.
set -euo pipefail

examples=0
for path in examples/*.rs examples/*/main.rs; do
    [ -e "$path" ] || continue
    name=${path#examples/}
    name=${name%/main.rs}
    name=${name%.rs}
    echo "-- $name"
    cargo build --locked --release --features full --example "$name"
    timeout 300 cargo run --locked --release --features full --example "$name"
    examples=$((examples + 1))
done
[ "$examples" -gt 0 ] || { echo "no example is there"; exit 1; }
