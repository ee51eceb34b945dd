//! How hard a block that can refuse does refuse.

use super::config_error::ConfigError;
use super::rng::Rng;

/// How much of what a block would refuse it really refuses.
///
/// Roll a new limit out with `Shadow`, look at its would-refuse counter, then a share, then all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Enforcement {
    /// Counts what it would refuse, and refuses nothing but what could never be granted.
    Shadow,
    /// Refuses this share (`0.0..=1.0`) of what it would refuse, by chance.
    Share(f64),
    /// Refuses everything it would refuse.
    #[default]
    Full,
}

impl Enforcement {
    pub(crate) fn check(self, field: &'static str) -> Result<(), ConfigError> {
        match self {
            Self::Share(ratio) => {
                ConfigError::unless((0.0..=1.0).contains(&ratio), field, ratio, "0..=1")
            }
            Self::Shadow | Self::Full => Ok(()),
        }
    }

    /// Whether this one refusal is carried out.
    pub(crate) fn refuses(self, rng: &mut Rng) -> bool {
        match self {
            Self::Shadow => false,
            Self::Share(ratio) => rng.unit() < ratio,
            Self::Full => true,
        }
    }
}
