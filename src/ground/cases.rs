//! How every property test of the crate is run, and what fuzzing found for it.

use proptest::test_runner::Config;

/// So many cases. Nothing is written down: a case that fails becomes a test by its name.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// What the fuzz target of this name found interesting: something, at least.
#[cfg(any(feature = "json", feature = "tower"))]
pub(crate) fn fuzz_seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let seeds: Vec<_> = entries.map(|entry| std::fs::read(entry.path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "no seeds of {target}");
    seeds
}
