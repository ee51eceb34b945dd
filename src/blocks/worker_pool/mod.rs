//! A priority worker pool with one cap, graded backpressure and an exact ledger.

pub(crate) mod crew;
