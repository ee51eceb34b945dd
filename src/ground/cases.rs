//! How every property test of the crate is run.

use proptest::test_runner::Config;

/// So many cases. Nothing is written down: a case that fails becomes a test by its name.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}
