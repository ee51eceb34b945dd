//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or an HTTP date.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// Nobody is sent away for longer.
const MOST: Duration = Duration::from_secs(3_600);

/// When the answer asks to be called again, at most 1 h.
///
/// A date counts from the answer's own `Date`, so no two clocks have to agree; without one it is
/// not understood.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds is still "long".
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MOST));
    }
    let until = seconds_of(text)?;
    let now = seconds_of(headers.get(DATE)?.to_str().ok()?)?;
    Some(Duration::from_secs(until.saturating_sub(now)).min(MOST))
}

/// Seconds since 1970 of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`: the one form that may
/// be sent (RFC 9110, section 5.6.7).
fn seconds_of(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let (_weekday, day) = (words.next()?, number(words.next()?, 2, 31)?);
    let month = month_of(words.next()?)?;
    let year = number(words.next()?, 4, 9_999).filter(|year| *year >= 1970)?;
    let mut clock = words.next()?.split(':');
    let hour = number(clock.next()?, 2, 23)?;
    let minute = number(clock.next()?, 2, 59)?;
    let second = number(clock.next()?, 2, 60)?;
    let end = (clock.next(), words.next(), words.next());
    if end != (None, Some("GMT"), None) || day == 0 {
        return None;
    }
    Some(days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(text: &str, digits: usize, most: u64) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| plain && *number <= most)
}

fn month_of(name: &str) -> Option<u64> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    NAMES.iter().position(|known| *known == name).map(|at| at as u64 + 1)
}

/// Days from 1970-01-01, counted from March so that the leap day is the last of its year (Howard
/// Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`).
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    fn asked(retry: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers).map(|after| after.as_secs())
    }

    #[test]
    fn seconds_are_capped_and_nonsense_is_none() {
        assert_eq!(asked("7", None), Some(7));
        assert_eq!(asked(" 0 ", None), Some(0));
        assert_eq!(asked("3601", None), Some(3_600));
        assert_eq!(asked("99999999999999999999999", None), Some(3_600));
        for bad in ["", "-1", "+1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_date_counts_from_the_answers_own_date() {
        let date = Some("Wed, 28 Feb 2024 23:59:50 GMT");
        assert_eq!(asked("Thu, 29 Feb 2024 00:00:20 GMT", date), Some(30));
        assert_eq!(asked("Wed, 28 Feb 2024 23:00:00 GMT", date), Some(0), "in the past");
        assert_eq!(asked("Fri, 01 Mar 2030 00:00:00 GMT", date), Some(3_600), "capped");
        assert_eq!(asked("Thu, 29 Feb 2024 00:00:20 CET", date), None);
        assert_eq!(asked("Thu, 00 Feb 2024 00:00:20 GMT", date), None);
    }

    #[test]
    fn known_dates_have_their_known_seconds() {
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
    }
}
