//! Floor 4: where intents come from.

pub mod intake;
