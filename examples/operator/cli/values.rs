//! What a value on the command line may be. Each parser's error completes clap's sentence
//! `invalid value '…' for '--flag <VALUE>': …`.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use http::Uri;

use crate::git::{is_branch, is_path};
use crate::llm::{FaultRates, MAX_SIGMA};

/// The longest time that makes sense anywhere here.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A whole number within a range.
pub(super) fn number<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(range)
}

/// `250ms`, `5s`, `2m`: a whole number and its unit, up to a day.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let form = || "must be a whole number and its unit, as in 250ms, 5s or 2m".to_owned();
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    if digits.is_empty() {
        return Err(form());
    }
    // A number too large to be read is longer than a day in any unit.
    let number: u64 = digits.parse().unwrap_or(u64::MAX);
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(form()),
    };
    if time > DAY {
        return Err("must be at most a day, 1440m".to_owned());
    }
    Ok(time)
}

/// A [`time`] of some length.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be at least 1ms".to_owned()),
        time => Ok(time),
    }
}

/// The spread of a lognormal latency.
pub(super) fn sigma(text: &str) -> Result<f64, String> {
    within(text, 0.0..=MAX_SIGMA)
}

/// `0.1`, or `hang=0.01,reset=0.02`: what isn't named doesn't happen.
pub(super) fn faults(text: &str) -> Result<FaultRates, String> {
    if !text.contains('=') {
        return within(text, 0.0..=1.0).map(FaultRates::total);
    }
    let mut rates = FaultRates::NONE;
    for part in text.split(',') {
        let (kind, share) = part.split_once('=').ok_or("must be KIND=RATIO,KIND=RATIO,…")?;
        *rates.named_mut(kind).ok_or_else(|| no_fault(kind))? =
            within(share, 0.0..=1.0).map_err(|rule| format!("{kind} {rule}"))?;
    }
    if rates.sum() > 1.0 + f64::EPSILON {
        return Err("the ratios must be at most 1 together".to_owned());
    }
    Ok(rates)
}

fn no_fault(kind: &str) -> String {
    let known = FaultRates::NONE.named().map(|(kind, _)| kind).join(", ");
    format!("there is no fault {kind:?}, only {known}")
}

/// A number within a range; what is no number at all is within none.
fn within(text: &str, range: RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
}

/// Where a server is: to be continued by a path.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    match not_a_base_url(text) {
        None => Ok(text.trim_end_matches('/').to_owned()),
        Some(why) => Err(format!("must be a URL as in http://localhost:11434, {why}")),
    }
}

fn not_a_base_url(text: &str) -> Option<&'static str> {
    let Ok(url) = text.parse::<Uri>() else {
        return Some("with a host and without odd characters");
    };
    let (Some("http" | "https"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Some("beginning with http:// or https://");
    };
    let is_port_right = authority.port_u16().is_some() || authority.as_str() == authority.host();
    if authority.as_str().contains('@') {
        Some("without credentials: a key belongs into the variable of --llm-key-env")
    } else if authority.host().is_empty() {
        Some("with a host")
    } else if !is_port_right {
        Some("with a port from 0 to 65535, or none")
    } else if url.query().is_some() || text.contains('#') {
        Some("ending with its path")
    } else {
        None
    }
}

/// A folder of the repository.
pub(super) fn path(text: &str) -> Result<String, String> {
    let rule = "must be names of letters, digits, '.', '_' and '-', joined by '/', \
                none beginning with '.'";
    if is_path(text) { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

/// A branch of the repository: a path that git takes as well.
pub(super) fn branch(text: &str) -> Result<String, String> {
    path(text)?;
    let rule = "must be a name that git allows for a branch";
    if is_branch(text) { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}
