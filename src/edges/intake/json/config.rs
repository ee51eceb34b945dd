//! What a JSON document may be.

use crate::ConfigError;

/// Bounds of one JSON document. Plain data; checked by [`JsonDecode::new`](super::JsonDecode::new).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct JsonDecodeConfig {
    /// Bytes. Default: 1 MiB.
    pub max_bytes: usize,
    /// Objects and arrays inside of each other; at most 127. Default: 64.
    pub max_depth: usize,
}

impl Default for JsonDecodeConfig {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_depth: 64 }
    }
}

impl JsonDecodeConfig {
    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`max_depth`](Self::max_depth).
    #[must_use]
    pub fn with_max_depth(self, max_depth: usize) -> Self {
        Self { max_depth, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            (1..=1 << 30).contains(&self.max_bytes),
            "json_decode.max_bytes",
            self.max_bytes,
            "1..=1073741824",
        )?;
        // serde_json itself goes no deeper than 127.
        ConfigError::unless(
            (1..=127).contains(&self.max_depth),
            "json_decode.max_depth",
            self.max_depth,
            "1..=127",
        )
    }
}
