//! How much may come out of a compressed answer.

use crate::ground::config_error::ConfigError;

/// That answers are asked for in `gzip`, `br` or `zstd` and decoded, and how large they may become:
/// a small answer can say a huge one (a *bomb*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Decoding {
    /// The most that one answer may be once decoded, in bytes, 1 to 2⁴⁰. Default: 64 MiB.
    pub max_bytes: usize,
    /// How many bytes may come out of one, on the average of the answer so far, 1 to 1,000,000; the
    /// first MiB is free. gzip reaches 1,032. Default: 100, as Envoy's decompressor.
    pub max_expansion: u32,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_expansion: 100 }
    }
}

impl Decoding {
    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`max_expansion`](Self::max_expansion).
    #[must_use]
    pub fn with_max_expansion(self, max_expansion: u32) -> Self {
        Self { max_expansion, ..self }
    }

    pub(super) fn check(self) -> Result<(), ConfigError> {
        ConfigError::unless(
            (1..=1 << 40).contains(&(self.max_bytes as u64)),
            "http_transport.decoding.max_bytes",
            self.max_bytes,
            "1..=2^40",
        )?;
        ConfigError::unless(
            (1..=1_000_000).contains(&self.max_expansion),
            "http_transport.decoding.max_expansion",
            self.max_expansion,
            "1..=1000000",
        )
    }
}
