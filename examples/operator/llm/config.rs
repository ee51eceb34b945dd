//! How slow and how faulty the stand-in is.

use std::time::Duration;

/// The widest spread of latencies that makes sense: one in fifty would be 470 times the median.
pub(crate) const MAX_SIGMA: f64 = 3.0;

/// The stand-in's behaviour: plain data.
#[derive(Clone, Debug)]
pub(crate) struct StandInConfig {
    /// Everything that happens by chance follows from this number. Default: 1.
    pub(crate) seed: u64,
    /// The latency that half of the answers undercut. Default: 20 ms.
    pub(crate) median: Duration,
    /// Spread of the lognormal latency; 0 is a constant one. Default: 0.5.
    pub(crate) sigma: f64,
    /// Default: [`FaultRates::default`], 9.5 % together.
    pub(crate) faults: FaultRates,
    /// How long a hanging request is held before its connection is closed. Default: 60 s.
    pub(crate) hang: Duration,
    /// What `Retry-After` of a 429 says, in whole seconds, rounded up. Default: 1 s.
    pub(crate) retry_after: Duration,
}

impl Default for StandInConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            median: Duration::from_millis(20),
            sigma: 0.5,
            faults: FaultRates::default(),
            hang: Duration::from_secs(60),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl StandInConfig {
    /// The first field that is out of its range, what it was, and what it may be.
    pub(crate) fn check(&self) -> Result<(), (&'static str, f64, &'static str)> {
        let faults = &self.faults;
        for (field, rate) in faults.named() {
            if !(0.0..=1.0).contains(&rate) {
                return Err((field, rate, "a ratio from 0 to 1"));
            }
        }
        if faults.sum() > 1.0 + f64::EPSILON {
            return Err(("faults", faults.sum(), "at most 1 together"));
        }
        match (0.0..=MAX_SIGMA).contains(&self.sigma) {
            true => Ok(()),
            false => Err(("sigma", self.sigma, "from 0 to 3")),
        }
    }
}

/// Which share of the requests meets which fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FaultRates {
    /// 429 with `Retry-After` and `x-ratelimit-*`. Default: 0.02.
    pub(crate) rate_limited: f64,
    /// 500, 502, 503 or 504. Default: 0.02.
    pub(crate) server_error: f64,
    /// No answer at all. Default: 0.005.
    pub(crate) hang: f64,
    /// Model output or envelope that ends too early. Default: 0.02.
    pub(crate) truncated: f64,
    /// A right answer with prose around it. Default: 0.02.
    pub(crate) prose: f64,
    /// The connection is reset in the middle of the body. Default: 0.01.
    pub(crate) reset: f64,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self {
            rate_limited: 0.02,
            server_error: 0.02,
            hang: 0.005,
            truncated: 0.02,
            prose: 0.02,
            reset: 0.01,
        }
    }
}

impl FaultRates {
    /// A server that never fails.
    pub(crate) const NONE: Self = Self {
        rate_limited: 0.0,
        server_error: 0.0,
        hang: 0.0,
        truncated: 0.0,
        prose: 0.0,
        reset: 0.0,
    };

    /// The default mix, scaled until all faults together make `ratio` of the requests.
    pub(crate) fn total(ratio: f64) -> Self {
        let mix = Self::default();
        let scale = ratio / mix.sum();
        Self {
            rate_limited: mix.rate_limited * scale,
            server_error: mix.server_error * scale,
            hang: mix.hang * scale,
            truncated: mix.truncated * scale,
            prose: mix.prose * scale,
            reset: mix.reset * scale,
        }
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> f64 {
        self.named().iter().map(|(_, rate)| rate).sum()
    }

    /// Every rate under the name of its fault.
    pub(crate) fn named(&self) -> [(&'static str, f64); 6] {
        let mut rates = *self;
        rates.slots().map(|(kind, rate)| (kind, *rate))
    }

    /// The rate of the fault with this name.
    pub(crate) fn named_mut(&mut self, kind: &str) -> Option<&mut f64> {
        self.slots().into_iter().find(|(name, _)| *name == kind).map(|(_, rate)| rate)
    }

    fn slots(&mut self) -> [(&'static str, &mut f64); 6] {
        [
            ("rate-limited", &mut self.rate_limited),
            ("server-error", &mut self.server_error),
            ("hang", &mut self.hang),
            ("truncated", &mut self.truncated),
            ("prose", &mut self.prose),
            ("reset", &mut self.reset),
        ]
    }
}
