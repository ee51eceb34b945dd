//! The addresses that proxies wrote down, read from the right.
//!
//! Each proxy writes at the right end, so what stands there came from the nearest one, and only
//! what trusted ones wrote is known to be well formed. All reading starts there and never depends
//! on anything further left: that is where a client writes what it likes.

use std::net::IpAddr;

/// A line of `X-Forwarded-For` at its last comma: what comes before it, and the last element.
pub(super) fn split_last(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match line.iter().rposition(|b| *b == b',') {
        Some(at) => (Some(&line[..at]), &line[at + 1..]),
        None => (None, line),
    }
}

/// A line of `Forwarded` at its last comma outside of quotes.
///
/// Going left, a quote opens or closes a string, but for one inside that is escaped: has an odd
/// number of backslashes before it. (An opening quote has none: `=` stands there.)
pub(super) fn split_last_quoted(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut is_inside = false;
    for at in (0..line.len()).rev() {
        match line[at] {
            b'"' if !(is_inside && is_escaped(line, at)) => is_inside = !is_inside,
            b',' if !is_inside => return (Some(&line[..at]), &line[at + 1..]),
            _ => {}
        }
    }
    (None, line)
}

fn is_escaped(line: &[u8], at: usize) -> bool {
    line[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// The address in an element of `X-Forwarded-For`; `None` when it holds anything else.
pub(super) fn address(element: &[u8]) -> Option<IpAddr> {
    node(std::str::from_utf8(element.trim_ascii()).ok()?)
}

/// The address in an element of `Forwarded` (RFC 7239, section 4): that of its one `for`. `None`
/// when it is hidden, unknown or malformed.
pub(super) fn address_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in pairs(element).map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|b| *b == b'=')?;
        if pair[..equals].eq_ignore_ascii_case(b"for") {
            // "Each parameter MUST NOT occur more than once": which one is meant?
            if found.replace(&pair[equals + 1..]).is_some() {
                return None;
            }
        }
    }
    node(plain(std::str::from_utf8(found?).ok()?)?)
}

/// What stands between the semicolons outside of quotes.
fn pairs(element: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_inside, mut is_escaped) = (false, false);
    element.split(move |b| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match b {
            b'\\' if is_inside => is_escaped = !was_escaped,
            b'"' if !was_escaped => is_inside = !is_inside,
            _ => {}
        }
        *b == b';' && !is_inside
    })
}

/// A value without its quotes. An address needs no escapes.
fn plain(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// An address, with or without a port (RFC 7239, section 6; unquoted or without brackets too, as
/// many proxies write it). IPv4-mapped IPv6 is IPv4.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (v6, port) = rest.split_once(']')?;
            (IpAddr::V6(v6.parse().ok()?), port)
        }
        None => {
            let (v4, port) = text.split_at(text.find(':')?);
            (IpAddr::V4(v4.parse().ok()?), port)
        }
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| address.to_canonical())
}

/// Up to five digits, or a hidden one: `_` and a word.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(word) => {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !word.is_empty() && word.bytes().all(is_plain)
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
    }
}
