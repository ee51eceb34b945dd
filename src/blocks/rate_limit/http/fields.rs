//! What an answer tells its client about the limit.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::blocks::rate_limit::Allowance;
use crate::ground::config_error::ConfigError;
use crate::ground::time::Instant;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which fields answers get, beside the `Retry-After` of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LimitFields {
    /// None: clients are told nothing before they are refused.
    None,
    /// `RateLimit` and `RateLimit-Policy`.
    Draft,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    Legacy,
    /// Both families.
    #[default]
    All,
}

/// The name of a policy as it stands in a field.
#[derive(Clone, Debug)]
pub(super) struct PolicyName(Arc<str>);

impl Default for PolicyName {
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

impl PolicyName {
    pub(super) fn new(name: &str) -> Result<Self, ConfigError> {
        let is_plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
        let fits = (1..=64).contains(&name.len()) && name.bytes().all(is_plain);
        let allowed = "1 to 64 printable ASCII characters, no quotes or backslashes";
        ConfigError::unless(fits, "rate_limit.http.policy", format_args!("{name:?}"), allowed)?;
        Ok(Self(Arc::from(name)))
    }
}

/// One bucket, in the words of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Tokens it holds when full.
    pub(super) burst: u32,
    /// Tokens that come in a window: the burst, more where seconds don't divide it.
    pub(super) quota: u64,
    /// In which an empty bucket fills, in whole seconds.
    pub(super) window_s: u64,
    /// Tokens left.
    pub(super) remaining: u32,
    /// In which so many come again, or the next one when none is left: whoever spreads what
    /// remains over it is never refused.
    pub(super) effective_s: u64,
    /// Until the bucket is full.
    pub(super) full_s: u64,
}

impl Standing {
    /// `of` names the quota; `left` is the bucket that has the least, itself or another one that
    /// the request takes from too.
    pub(super) fn new(of: &Allowance, left: &Allowance, now: Instant) -> Self {
        let window_s = whole_seconds(of.refill).max(1);
        let full_in = left.full_at.saturating_duration_since(now);
        let each = left.refill / left.burst.max(1);
        let effective = match left.available {
            0 => full_in.saturating_sub(each * left.burst.saturating_sub(1)),
            available => each * available,
        };
        Self {
            burst: of.burst,
            quota: in_window(of, window_s),
            window_s,
            remaining: left.available.min(of.burst),
            effective_s: whole_seconds(effective).max(1),
            full_s: whole_seconds(full_in),
        }
    }

    /// As it is told to somebody who was just refused until so far ahead.
    pub(super) fn refused(self, wait: Duration) -> Self {
        let effective_s = whole_seconds(wait).max(1);
        Self { remaining: 0, effective_s, full_s: self.full_s.max(effective_s), ..self }
    }

    pub(super) fn write(&self, headers: &mut HeaderMap, fields: LimitFields, name: &PolicyName) {
        if matches!(fields, LimitFields::Draft | LimitFields::All) {
            self.write_draft(headers, name);
        }
        if matches!(fields, LimitFields::Legacy | LimitFields::All) {
            self.write_legacy(headers);
        }
    }

    /// Added to what others wrote: these fields are lists.
    fn write_draft(&self, headers: &mut HeaderMap, PolicyName(name): &PolicyName) {
        let Self { quota, window_s, remaining, effective_s, .. } = self;
        append(headers, RATE_LIMIT_POLICY, format_args!("\"{name}\";q={quota};w={window_s}"));
        append(headers, RATE_LIMIT, format_args!("\"{name}\";r={remaining};t={effective_s}"));
    }

    /// Of these there is one each: who was asked after us and wrote some keeps them all.
    fn write_legacy(&self, headers: &mut HeaderMap) {
        if [X_LIMIT, X_REMAINING, X_RESET].iter().any(|name| headers.contains_key(name)) {
            return;
        }
        append(headers, X_LIMIT, format_args!("{}", self.burst));
        append(headers, X_REMAINING, format_args!("{}", self.remaining));
        append(headers, X_RESET, format_args!("{}", self.full_s));
    }
}

/// `⌊burst × window ÷ refill⌋`, and never less than the burst.
fn in_window(of: &Allowance, window_s: u64) -> u64 {
    let burst = u128::from(of.burst);
    let ns = u128::from(window_s) * 1_000_000_000;
    let tokens = burst * ns / of.refill.as_nanos().max(1);
    u64::try_from(tokens.max(burst)).unwrap_or(u64::MAX)
}

/// Rounded up: never too early.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// A map that is full keeps what it has.
fn append(headers: &mut HeaderMap, name: HeaderName, value: std::fmt::Arguments<'_>) {
    let mut text = String::with_capacity(96);
    if text.write_fmt(value).is_err() {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        let _ = headers.try_append(name, value);
    }
}
