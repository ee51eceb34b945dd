//! What a breaker is made from, and the checked form of it.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::ground::config_error::ConfigError;
use crate::ground::enforcement::Enforcement;

/// Over which calls the failure ratio is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Window {
    /// The calls that ended in the last this long, in ten buckets: the oldest tenth leaves at once.
    Time(Duration),
    /// The last so many calls that ended (at most 100,000), however long ago.
    Calls(NonZeroU32),
    /// No ratio at all: only consecutive failures open the circuit.
    Off,
}

/// What a permit that was dropped without a report counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unreported {
    /// A failure once it is older than [`CircuitBreakerConfig::slow_after`], else nothing: a
    /// caller that gave up on a hanging backend tells something about it, a quick cancel doesn't.
    #[default]
    FailureIfSlow,
    /// Always a failure.
    Failure,
    /// Never anything.
    Ignored,
}

/// What a call in flight counts as while it has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum InFlight {
    /// A failure once it is older than [`CircuitBreakerConfig::slow_after`], by a sixth of that at
    /// most: a backend that hangs is noticed before the first timeout. When the call ends it counts
    /// as what it ends with instead.
    #[default]
    FailureIfSlow,
    /// Nothing.
    Ignored,
}

/// What an answer that asks for patience (HTTP 429) counts as. Whatever it is, an opening that
/// begins before the backend wants to be asked again lasts until then, at most
/// [`CircuitBreakerConfig::open_for_most`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Overloaded {
    /// Nothing, or as a probe a success: the backend works.
    #[default]
    Ignored,
    /// A failure.
    Failure,
    /// A failure that opens the circuit by itself.
    Opens,
}

/// How a [`CircuitBreaker`](super::CircuitBreaker) decides. Plain data; checked by
/// [`CircuitBreaker::new`](super::CircuitBreaker::new).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct CircuitBreakerConfig {
    /// The label of its metrics. Default: `"breaker"`.
    pub name: Cow<'static, str>,
    /// Over which calls the failure ratio is taken. Default: `Window::Time` of 10 s; a count
    /// window is commonly `Window::Calls` of 100.
    pub window: Window,
    /// The share of failures, above 0 and at most 1, that opens the circuit; also the share of
    /// failed probes that opens it again. Default: 0.5.
    pub failure_ratio: f64,
    /// Fewer calls than this in the window never open the circuit by ratio. Default: 10.
    pub minimum_calls: NonZeroU32,
    /// So many failures in a row open the circuit, whatever the ratio. Default: `None`.
    pub consecutive_failures: Option<NonZeroU32>,
    /// How long the first opening lasts. Default: 30 s.
    pub open_for: Duration,
    /// What each further opening in a row multiplies that by, at least 1. Default: 2.
    pub open_factor: f64,
    /// The longest opening, before jitter. Default: 5 min.
    pub open_for_most: Duration,
    /// Each opening lasts this share (0 to 1) longer or shorter by chance, so that many
    /// processes don't probe together. Default: 0.2.
    pub open_jitter_ratio: f64,
    /// How many calls are let through to try the backend: never more at once, and this many
    /// results decide. At most 1,000. Default: 5.
    pub probes: NonZeroU32,
    /// The longest that [`call`](super::CircuitBreaker::call) runs, and the age at which a probe
    /// that hasn't reported counts as failed. Default: 30 s.
    pub call_timeout: Duration,
    /// From which age on a call is slow. Set it below every timeout around the breaker: calls that
    /// are given up before they are slow tell nothing, and a backend that hangs is not noticed.
    /// Default: `None`, the `call_timeout`.
    pub slow_after: Option<Duration>,
    /// The share of slow calls, above 0 and at most 1, that opens the circuit, whether they fail
    /// or not; a slow probe then counts as failed. Default: `None`, slow answers are as good as
    /// others.
    pub slow_ratio: Option<f64>,
    /// What a call in flight counts as. Default: `FailureIfSlow`.
    pub in_flight: InFlight,
    /// What a permit dropped without a report counts as. Default: `FailureIfSlow`.
    pub unreported: Unreported,
    /// What an answer that asks for patience counts as. Default: `Ignored`.
    pub overloaded: Overloaded,
    /// After the probes succeed, traffic returns in steps of 10, 25 and 50 %, each this long,
    /// then all. `None`: all at once. Default: 1 s.
    pub ramp_step: Option<Duration>,
    /// How much of what it would refuse it refuses. Default: `Full`.
    pub enforcement: Enforcement,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        const TEN: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
        const FIVE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
        Self {
            name: Cow::Borrowed("breaker"),
            window: Window::Time(Duration::from_secs(10)),
            failure_ratio: 0.5,
            minimum_calls: TEN,
            consecutive_failures: None,
            open_for: Duration::from_secs(30),
            open_factor: 2.0,
            open_for_most: Duration::from_secs(300),
            open_jitter_ratio: 0.2,
            probes: FIVE,
            call_timeout: Duration::from_secs(30),
            slow_after: None,
            slow_ratio: None,
            in_flight: InFlight::FailureIfSlow,
            unreported: Unreported::FailureIfSlow,
            overloaded: Overloaded::Ignored,
            ramp_step: Some(Duration::from_secs(1)),
            enforcement: Enforcement::Full,
        }
    }
}

macro_rules! with {
    ($($(#[$doc:meta])* $with:ident: $field:ident, $type:ty;)*) => {
        impl CircuitBreakerConfig {
            $($(#[$doc])* #[must_use] pub fn $with(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            })*
        }
    };
}

with! {
    /// Sets [`window`](Self::window).
    with_window: window, Window;
    /// Sets [`failure_ratio`](Self::failure_ratio).
    with_failure_ratio: failure_ratio, f64;
    /// Sets [`minimum_calls`](Self::minimum_calls).
    with_minimum_calls: minimum_calls, NonZeroU32;
    /// Sets [`consecutive_failures`](Self::consecutive_failures).
    with_consecutive_failures: consecutive_failures, Option<NonZeroU32>;
    /// Sets [`open_for`](Self::open_for).
    with_open_for: open_for, Duration;
    /// Sets [`open_factor`](Self::open_factor).
    with_open_factor: open_factor, f64;
    /// Sets [`open_for_most`](Self::open_for_most).
    with_open_for_most: open_for_most, Duration;
    /// Sets [`open_jitter_ratio`](Self::open_jitter_ratio).
    with_open_jitter_ratio: open_jitter_ratio, f64;
    /// Sets [`probes`](Self::probes).
    with_probes: probes, NonZeroU32;
    /// Sets [`call_timeout`](Self::call_timeout).
    with_call_timeout: call_timeout, Duration;
    /// Sets [`slow_after`](Self::slow_after).
    with_slow_after: slow_after, Option<Duration>;
    /// Sets [`slow_ratio`](Self::slow_ratio).
    with_slow_ratio: slow_ratio, Option<f64>;
    /// Sets [`in_flight`](Self::in_flight).
    with_in_flight: in_flight, InFlight;
    /// Sets [`unreported`](Self::unreported).
    with_unreported: unreported, Unreported;
    /// Sets [`overloaded`](Self::overloaded).
    with_overloaded: overloaded, Overloaded;
    /// Sets [`ramp_step`](Self::ramp_step).
    with_ramp_step: ramp_step, Option<Duration>;
    /// Sets [`enforcement`](Self::enforcement).
    with_enforcement: enforcement, Enforcement;
}

impl CircuitBreakerConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_window()?;
        ConfigError::unless(
            self.failure_ratio > 0.0 && self.failure_ratio <= 1.0,
            "circuit_breaker.failure_ratio",
            self.failure_ratio,
            "more than 0 and at most 1",
        )?;
        self.check_slow()?;
        ConfigError::unless(
            self.open_for_most <= Duration::from_secs(30 * 86_400),
            "circuit_breaker.open_for_most",
            format!("{:?}", self.open_for_most),
            "at most 30 days",
        )?;
        let opens = !self.open_for.is_zero() && self.open_for <= self.open_for_most;
        let shown = format!("{:?}", self.open_for);
        let allowed = "more than 0 and at most `open_for_most`";
        ConfigError::unless(opens, "circuit_breaker.open_for", shown, allowed)?;
        ConfigError::unless(
            self.open_factor >= 1.0 && self.open_factor.is_finite(),
            "circuit_breaker.open_factor",
            self.open_factor,
            "at least 1",
        )?;
        ConfigError::unless(
            (0.0..=1.0).contains(&self.open_jitter_ratio),
            "circuit_breaker.open_jitter_ratio",
            self.open_jitter_ratio,
            "0..=1",
        )?;
        ConfigError::unless(
            self.probes.get() <= 1_000,
            "circuit_breaker.probes",
            self.probes,
            "at most 1000",
        )?;
        for (field, value) in [
            ("circuit_breaker.call_timeout", Some(self.call_timeout)),
            ("circuit_breaker.slow_after", self.slow_after),
            ("circuit_breaker.ramp_step", self.ramp_step),
        ] {
            let shown = format!("{:?}", value.unwrap_or_default());
            ConfigError::unless(value != Some(Duration::ZERO), field, shown, "more than 0")?;
        }
        self.enforcement.check("circuit_breaker.enforcement")
    }

    fn check_window(&self) -> Result<(), ConfigError> {
        match self.window {
            Window::Time(length) => ConfigError::unless(
                length >= Duration::from_millis(10) && length <= Duration::from_secs(86_400),
                "circuit_breaker.window.time",
                format!("{length:?}"),
                "10ms..=1 day",
            ),
            Window::Calls(calls) => ConfigError::unless(
                (self.minimum_calls..=const { NonZeroU32::MIN.saturating_add(99_999) })
                    .contains(&calls),
                "circuit_breaker.window.calls",
                calls,
                "`minimum_calls`..=100000",
            ),
            Window::Off => ConfigError::unless(
                self.consecutive_failures.is_some(),
                "circuit_breaker.window",
                "off",
                "on, unless `consecutive_failures` is set: else nothing opens the circuit",
            ),
        }
    }

    fn check_slow(&self) -> Result<(), ConfigError> {
        let Some(ratio) = self.slow_ratio else { return Ok(()) };
        let field = "circuit_breaker.slow_ratio";
        let in_range = ratio > 0.0 && ratio <= 1.0;
        ConfigError::unless(in_range, field, ratio, "more than 0 and at most 1")?;
        let has_window = self.window != Window::Off;
        ConfigError::unless(has_window, field, ratio, "none without a window")
    }

    /// Whether an admission needs to know the time while calls flow.
    pub(super) fn is_timed(&self) -> bool {
        matches!(self.window, Window::Time(_))
            || self.in_flight == InFlight::FailureIfSlow
            || self.unreported == Unreported::FailureIfSlow
            || self.slow_ratio.is_some()
    }

    pub(super) fn slow_threshold(&self) -> Duration {
        self.slow_after.unwrap_or(self.call_timeout)
    }
}
