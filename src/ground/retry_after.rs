//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or an HTTP date.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// Nobody is sent away for longer.
pub(crate) const MOST: Duration = Duration::from_secs(3_600);

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
    Some(Duration::from_secs(until.saturating_sub(sent_at(headers)?)).min(MOST))
}

/// The answer's own `Date`, in seconds since 1970.
pub(crate) fn sent_at(headers: &HeaderMap) -> Option<u64> {
    seconds_of(headers.get(DATE)?.to_str().ok()?)
}

/// Seconds since 1970 of an HTTP date, in any of the three forms that must be understood (RFC
/// 9110, section 5.6.7). The one that may be sent is the first:
///
/// - `Sun, 06 Nov 1994 08:49:37 GMT`
/// - `Sunday, 06-Nov-94 08:49:37 GMT`; 70 to 99 are of the last century.
/// - `Sun Nov  6 08:49:37 1994`
fn seconds_of(text: &str) -> Option<u64> {
    let mut words = [""; 6];
    for (at, word) in text.split_ascii_whitespace().enumerate() {
        *words.get_mut(at)? = word;
    }
    let (day, month, year, clock) = match words {
        [_weekday, day, month, year, clock, "GMT"] => {
            (number(day, 2)?, month, number(year, 4)?, clock)
        }
        [_weekday, date, clock, "GMT", "", ""] => {
            let mut parts = date.splitn(3, '-');
            let (day, month) = (number(parts.next()?, 2)?, parts.next()?);
            let year = number(parts.next()?, 2)?;
            (day, month, if year < 70 { 2000 + year } else { 1900 + year }, clock)
        }
        [_weekday, month, day, clock, year, ""] => {
            (number(day, day.len().clamp(1, 2))?, month, number(year, 4)?, clock)
        }
        _ => return None,
    };
    let (month, second) = (month_of(month)?, second_of_day(clock)?);
    let is_date = year >= 1970 && (1..=31).contains(&day);
    is_date.then(|| days_before(year, month, day) * 86_400 + second)
}

/// Of `08:49:37`. A leap second is the first one of the next minute.
fn second_of_day(clock: &str) -> Option<u64> {
    let mut parts = clock.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let is_time = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    is_time.then_some(hour * 3_600 + minute * 60 + second)
}

/// Just so many digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
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
        assert_eq!(seconds_of("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of("Sun Nov  6 08:49:37 1994"), Some(784_111_777));
        assert_eq!(seconds_of("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
        assert_eq!(seconds_of("Thursday, 01-Jan-70 00:00:00 GMT"), Some(0));
        assert_eq!(seconds_of("Fri Dec 31 23:59:60 9999"), Some(253_402_300_800));
    }

    #[test]
    fn what_only_looks_like_a_date_is_none() {
        for bad in [
            "",
            "GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 19940 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "Sun Nov 006 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov 32 08:49:37 1994",
        ] {
            assert_eq!(seconds_of(bad), None, "{bad}");
        }
    }
}
