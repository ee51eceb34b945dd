//! Floor 3: the one place that names many blocks.

pub mod pipeline;
