//! What an answer says about limits.

use std::time::Duration;

use http::HeaderMap;

use super::structured::{Bare, Malformed, Member, members};
use crate::ground::retry_after::{retry_after, sent_at};

/// Of a field in several lines, and of its lines.
const MOST_LINES: usize = 8;
const MOST_MEMBERS: usize = 16;
/// A longer line is not looked at.
const MOST_BYTES: usize = 1_024;
/// From here on a reset is an instant since 1970 (this is in 2001), no number of seconds ...
const EPOCH_S: u64 = 1_000_000_000;
/// ... and from here on in milliseconds (also 2001).
const EPOCH_MS: u64 = 1_000_000_000_000;

/// What the answer of a server says about the limits of whoever asked: a hint, never a promise.
///
/// Read from `RateLimit` and `RateLimit-Policy` ([draft-ietf-httpapi-ratelimit-headers-11][draft];
/// of several limits the tightest: the one with the least left, and of those the one that lasts
/// longest), else from `X-RateLimit-Limit`, `-Remaining` and `-Reset`, else from the same without
/// `X-` (the draft until its sixth revision). A field that is malformed, longer than 1,024 bytes a
/// line, or of more than 8 lines or 16 members is as if it were not there.
///
/// Nothing read is above a cap, so that neither a broken server nor somebody between can send a
/// client away for ever: counts end at `u32::MAX`, [`reset`](Self::reset) at
/// [`LONGEST_RESET`](Self::LONGEST_RESET), [`retry_after`](Self::retry_after) at 1 h.
///
/// # Examples
/// ```
/// use headworks::rate_limit::http::RateLimitHint;
/// use std::time::Duration;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("ratelimit-policy", r#""burst";q=10;w=1, "daily";q=500;w=86400"#.parse().unwrap());
/// headers.insert("ratelimit", r#""burst";r=9;t=1, "daily";r=0;t=40"#.parse().unwrap());
///
/// let hint = RateLimitHint::read(&headers);
/// assert_eq!((hint.remaining, hint.limit), (Some(0), Some(500)));
/// assert_eq!(hint.wait(), Duration::from_secs(40));
/// ```
///
/// [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/11/
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitHint {
    /// How many are allowed in a [`window`](Self::window).
    pub limit: Option<u32>,
    /// In what time; one longer than 366 days is not believed.
    pub window: Option<Duration>,
    /// How many are left; at most the [`limit`](Self::limit), where that is told.
    pub remaining: Option<u32>,
    /// For how long no more than these are left. A point in time counts from the answer's own
    /// `Date`; without that it is not understood.
    pub reset: Option<Duration>,
    /// When to come back, whatever else is said: `Retry-After`, in seconds or as a date (which
    /// counts from the answer's own `Date`).
    pub retry_after: Option<Duration>,
}

impl RateLimitHint {
    /// The cap of [`reset`](Self::reset): a day.
    pub const LONGEST_RESET: Duration = Duration::from_secs(86_400);
    const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 86_400);

    /// What these headers, an answer's, say. All `None`: nothing.
    ///
    /// # Cost
    /// A look-up for each field, and one pass over what it holds. Nothing is allocated.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let limits = Self::structured(headers)
            .or_else(|| Self::plain(headers, X_FIELDS))
            .or_else(|| Self::plain(headers, OLD_FIELDS))
            .unwrap_or_default();
        Self { retry_after: retry_after(headers), ..limits }
    }

    /// How long to wait with the next request: as long as `Retry-After` says; else, when nothing
    /// is left, until the reset; else, or when nothing is said, not at all.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let reset = || self.reset.filter(|_| self.remaining == Some(0));
        self.retry_after.or_else(reset).unwrap_or_default()
    }

    /// Of `RateLimit` and `RateLimit-Policy`; `None` when neither says anything.
    fn structured(headers: &HeaderMap) -> Option<Self> {
        let tightest = Limit::all(headers)
            .and_then(|limits| limits.min_by_key(|(_, limit)| limit.tightness()));
        let Some((name, limit)) = tightest else {
            let (_, policy) = Policy::all(headers)?.min_by_key(|(_, policy)| policy.quota)?;
            return Some(Self::of(Some(policy), None));
        };
        let policy = Policy::all(headers)
            .and_then(|mut policies| policies.find(|(policy, _)| *policy == name));
        Some(Self::of(policy.map(|(_, policy)| policy), Some(limit)))
    }

    fn of(policy: Option<Policy>, limit: Option<Limit>) -> Self {
        let quota = policy.map(|policy| count(policy.quota));
        let remaining = limit.map(|limit| count(limit.available));
        Self {
            limit: quota,
            window: policy.and_then(|policy| policy.window).and_then(believed),
            remaining: at_most(remaining, quota),
            reset: limit.and_then(|limit| limit.window).map(capped),
            retry_after: None,
        }
    }

    /// Of three plain fields; `None` when none of them says anything.
    fn plain(headers: &HeaderMap, [limit, remaining, reset]: [&str; 3]) -> Option<Self> {
        let limit = number(headers, limit).map(count);
        let remaining = at_most(number(headers, remaining).map(count), limit);
        let reset = number(headers, reset).and_then(|reset| until(headers, reset));
        let hint = Self { limit, remaining, reset, ..Self::default() };
        (hint != Self::default()).then_some(hint)
    }
}

const X_FIELDS: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
const OLD_FIELDS: [&str; 3] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];

/// `"name";r=50;t=30`.
#[derive(Clone, Copy)]
struct Limit {
    available: u64,
    window: Option<u64>,
}

/// `"name";q=100;w=60`.
#[derive(Clone, Copy)]
struct Policy {
    quota: u64,
    window: Option<u64>,
}

impl Limit {
    fn all(headers: &HeaderMap) -> Option<impl Iterator<Item = (&str, Self)>> {
        items(headers, "ratelimit", |member| {
            let available = parameter(member, "r")?.ok_or(Malformed)?;
            Ok(Self { available, window: parameter(member, "t")? })
        })
    }

    /// Less is tighter; of the same, the longer one.
    fn tightness(self) -> (u64, std::cmp::Reverse<Option<u64>>) {
        (self.available, std::cmp::Reverse(self.window))
    }
}

impl Policy {
    fn all(headers: &HeaderMap) -> Option<impl Iterator<Item = (&str, Self)>> {
        items(headers, "ratelimit-policy", |member| {
            let quota = parameter(member, "q")?.ok_or(Malformed)?;
            Ok(Self { quota, window: parameter(member, "w")? })
        })
    }
}

/// Every member of every line, once all of them are known to be well formed; so each is read
/// twice. `None`: one is not, or there are too many.
fn items<'a, T>(
    headers: &'a HeaderMap,
    field: &str,
    read: impl Fn(&Member<'a>) -> Result<T, Malformed> + Copy,
) -> Option<impl Iterator<Item = (&'a str, T)>> {
    let all = move |line: &'a str| {
        members(line).map(move |member| {
            let member = member?;
            match member.value {
                // A name is a string; some write a token.
                Bare::Text(name) => Ok((name, read(&member)?)),
                _ => Err(Malformed),
            }
        })
    };
    let mut lines = [""; MOST_LINES];
    let mut count = 0;
    for (at, value) in headers.get_all(field).into_iter().enumerate() {
        *lines.get_mut(at)? = bounded(value)?;
        for item in all(lines[at]) {
            item.ok()?;
            count += 1;
        }
    }
    (count <= MOST_MEMBERS).then(|| lines.into_iter().flat_map(all).flatten())
}

fn bounded(value: &http::HeaderValue) -> Option<&str> {
    value.to_str().ok().filter(|text| text.len() <= MOST_BYTES)
}

/// A parameter that must be a non-negative integer if it is there.
fn parameter(member: &Member<'_>, name: &str) -> Result<Option<u64>, Malformed> {
    match member.parameter(name) {
        None => Ok(None),
        Some(Bare::Integer(number)) => u64::try_from(number).map(Some).map_err(|_| Malformed),
        Some(_) => Err(Malformed),
    }
}

/// The digits that a plain field begins with (`100, 100;w=60` is known); any fraction is dropped.
/// More digits than a u64 holds are "many".
fn number(headers: &HeaderMap, field: &str) -> Option<u64> {
    let text = bounded(headers.get(field)?)?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    let is_number = !digits.is_empty() && (rest.is_empty() || rest.starts_with([',', ';', '.']));
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// A reset: in so many seconds, or at so many seconds or milliseconds since 1970.
fn until(headers: &HeaderMap, reset: u64) -> Option<Duration> {
    let at = match reset {
        ..EPOCH_S => return Some(capped(reset)),
        EPOCH_S..EPOCH_MS => reset,
        EPOCH_MS.. => reset.div_ceil(1_000),
    };
    Some(capped(at.saturating_sub(sent_at(headers)?)))
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn at_most(number: Option<u32>, most: Option<u32>) -> Option<u32> {
    number.map(|number| number.min(most.unwrap_or(u32::MAX)))
}

fn capped(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(RateLimitHint::LONGEST_RESET)
}

/// A window is no time to wait, but to divide by: one that is cut would promise more.
fn believed(seconds: u64) -> Option<Duration> {
    let window = Duration::from_secs(seconds);
    (seconds > 0 && window <= RateLimitHint::LONGEST_WINDOW).then_some(window)
}
