//! Date-times as in RFC 3339.

use serde_json::Value;

use crate::formats::text;
use crate::names::shortened;
use crate::problem::Rule;

/// `2026-02-28T23:59:60.5+01:00`: checked, and kept as it is.
pub(crate) fn date_time(value: &Value) -> Result<String, Rule> {
    let was = text(value)?;
    match is_date_time(&was) {
        Some(true) => Ok(was),
        _ => Err(Rule::DateTime { was: shortened(&was) }),
    }
}

/// `None`: not even the shape is right.
fn is_date_time(text: &str) -> Option<bool> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, offset) = split_offset(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let fraction_is_right = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    let offset_is_right = match offset {
        "" => true,
        offset => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            hours <= 23 && minutes <= 59
        }
    };
    let date_is_right = (1..=12).contains(&month) && (1..=days(year, month)).contains(&day);
    // 60: a leap second.
    let time_is_right = hour <= 23 && minute <= 59 && second <= 60;
    Some(date_is_right && time_is_right && fraction_is_right && offset_is_right)
}

/// The clock, and the offset without its sign (empty for `Z`).
fn split_offset(time: &str) -> Option<(&str, &str)> {
    match time.strip_suffix(['Z', 'z']) {
        Some(clock) => Some((clock, "")),
        None => time.split_once(['+', '-']).filter(|(_, offset)| !offset.is_empty()),
    }
}

/// Numbers of a fixed width with one character between them.
fn numbers<const N: usize>(text: &str, between: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn date_times_are_those_of_rfc_3339() {
        for good in [
            "2025-08-28T10:30:00Z",
            "2024-02-29T23:59:60.123456789+01:00",
            "2000-02-29t00:00:00z",
            "2026-12-31T00:00:00-23:59",
        ] {
            assert!(date_time(&json!(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "today",
            "2025-08-28",
            "2025-08-28T10:30:00",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-10T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:61Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00+1:00",
            "2025-01-01T00:00:00+24:00",
            "25-01-01T00:00:00Z",
            "2025-01-01T00:00Z",
            "+025-01-01T00:00:00Z",
            "2026-03-05T20:06:49+00:00Z",
        ] {
            assert!(matches!(date_time(&json!(bad)), Err(Rule::DateTime { .. })), "{bad}");
        }
    }
}
