//! What becomes of one request. Pure: seed, content and attempt decide.

use std::time::Duration;

use super::config::StandInConfig;
use crate::chance::Chance;

/// How a request is answered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Kind {
    /// The right answer.
    Plain,
    /// The right answer with prose around it.
    Prose,
    /// The model's output, or the whole envelope, ends too early.
    Truncated,
    /// 429.
    RateLimited,
    /// 500, 502, 503 or 504.
    ServerError,
    /// No answer.
    Hang,
    /// A reset in the middle of the body.
    Reset,
}

/// Kind, latency, and the number that decides between the variants of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fate {
    pub(crate) kind: Kind,
    pub(crate) latency: Duration,
    pub(crate) variant: u64,
}

impl Fate {
    pub(crate) fn of(config: &StandInConfig, content: u64, attempt: u32) -> Self {
        let mut chance = Chance::of(config.seed, content, attempt);
        let kind = kind(config, chance.unit());
        // A constant latency takes no part in chance, and no rounding.
        let latency = match config.sigma {
            sigma if sigma > 0.0 => config.median.mul_f64((sigma * chance.normal()).exp()),
            _ => config.median,
        };
        Self { kind, latency, variant: chance.next() }
    }
}

fn kind(config: &StandInConfig, mut drawn: f64) -> Kind {
    let rates = &config.faults;
    let shares = [
        (rates.rate_limited, Kind::RateLimited),
        (rates.server_error, Kind::ServerError),
        (rates.hang, Kind::Hang),
        (rates.truncated, Kind::Truncated),
        (rates.prose, Kind::Prose),
        (rates.reset, Kind::Reset),
    ];
    for (share, kind) in shares {
        if drawn < share {
            return kind;
        }
        drawn -= share;
    }
    Kind::Plain
}
