#!/usr/bin/env bash
# What a stranger gets: packs the crate, unpacks it elsewhere, and makes a fresh project that
# depends on that folder and holds the README's first example; builds and runs it with the other
# dependencies that the README names above it, with default features and with `full`. Prints how
# many crates that brings and how long it builds. Fails when the example does, or when default
# features bring more than $most_crates crates.
set -euo pipefail

most_crates=25

cargo package --locked --no-verify --target-dir target
package=$(ls -t target/package/*.crate | head -1)
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
tar -xzf "$package" -C "$away"
headworks=$(echo "$away"/headworks-*)

awk '/^```/ { if (inside) exit; inside = $0 ~ /^```rust/; next } inside' README.md > "$away/main.rs"
[ -s "$away/main.rs" ] || { echo "README.md holds no rust example"; exit 1; }

# Those other dependencies: tokio, with the features that the example needs and no more.
others=$(awk '/^```/ { if (inside) exit; inside = $0 ~ /^```toml/; next } inside' README.md |
    grep -v -e '^\[dependencies\]$' -e '^headworks = ')
grep -q '^tokio = ' <<< "$others" || { echo "README.md names no tokio above its example"; exit 1; }

# The crates of a project that depends on headworks alone, itself and headworks not counted.
crates() {
    cargo tree -e normal --prefix none --no-dedupe | awk 'NF { print $1 }' | sort -u |
        grep -vcx -e fresh -e headworks
}

for features in '' full; do
    name=${features:-default}
    fresh=$away/fresh-$name
    mkdir -p "$fresh/src"
    cp "$away/main.rs" "$fresh/src/main.rs"
    cat > "$fresh/Cargo.toml" <<TOML
[package]
name = "fresh"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
headworks = { path = "$headworks", features = ["$features"] }
TOML
    sed -i 's/features = \[""\]/features = []/' "$fresh/Cargo.toml"
    (
        cd "$fresh"
        count=$(crates)
        printf '%s\n' "$others" >> Cargo.toml
        since=$SECONDS
        cargo build
        echo "-- headworks with $name features: $count crates, built in $((SECONDS - since)) s"
        timeout 60 cargo run
        if [ "$name" = default ] && [ "$count" -gt $most_crates ]; then
            echo "more than $most_crates crates"
            exit 1
        fi
    )
done
