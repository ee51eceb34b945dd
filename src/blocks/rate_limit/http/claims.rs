//! What must hold whatever bytes come in: for the fuzz targets, whose seeds run with the tests.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{LimitFields, PolicyName, Standing};
use super::{ForwardingHeader, RateLimitHint, TrustedProxies};

/// Of `data` each line is one of the header's; those that HTTP would not carry are left out.
fn lines(data: &[u8]) -> impl Iterator<Item = (u8, HeaderValue)> {
    data.split(|b| *b == b'\n').filter_map(|line| {
        let (first, rest) = line.split_first()?;
        Some((*first, HeaderValue::from_bytes(rest).ok()?))
    })
}

/// Lines that a client forges, their first bytes ignored: it never chooses its key by them.
pub(crate) fn client_ip(data: &[u8]) {
    let [proxy, client] = [[10, 0, 0, 1], [198, 51, 100, 1]].map(IpAddr::from);
    for (name, header, wrote) in [
        ("x-forwarded-for", ForwardingHeader::XForwardedFor, ["198.51.100.1", "203.0.113.1"]),
        (
            "forwarded",
            ForwardingHeader::Forwarded,
            ["for=\"198.51.100.1:80\";host=\"a,\\\"b\"", "for=203.0.113.1"],
        ),
    ] {
        let proxies = TrustedProxies::new(["10.0.0.0/8"], header);
        let proxies = proxies.expect("a network");
        let forged: Vec<_> = lines(data).map(|(_, value)| value).collect();
        let found = |peer, lines: &[HeaderValue]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(HeaderName::from_static(name), line.clone());
            }
            proxies.client(peer, &headers)
        };
        assert_eq!(found(None, &forged), None);
        assert_eq!(found(Some(client), &forged), Some(client), "straight to us");

        let [seen, elsewhere] = wrote.map(HeaderValue::from_static);
        let own_line = [forged.as_slice(), &[seen]].concat();
        assert_eq!(found(Some(proxy), &own_line), Some(client), "in a line of the proxy's own");
        let mut same_line = forged.clone();
        if let Some(last) = same_line.last_mut() {
            let line = [last.as_bytes(), b", ", wrote[0].as_bytes()].concat();
            *last = HeaderValue::from_bytes(&line).expect("both were");
            assert_eq!(found(Some(proxy), &same_line), Some(client), "appended to the last line");
        }

        // The proxy itself wrote all that: then who is found depends on nothing further left.
        let Some(by_proxy) = found(Some(proxy), &forged) else { panic!("there was a peer") };
        if found(Some(by_proxy), std::slice::from_ref(&elsewhere)) == Some(by_proxy) {
            let longer = [&[elsewhere], forged.as_slice()].concat();
            assert_eq!(found(Some(proxy), &longer), Some(by_proxy));
        }
    }
}

/// What a hint is read from.
pub(super) const FIELDS: [&str; 10] = [
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "date",
];

/// Lines of an answer; the first byte of each tells the field. Nothing is above its cap, and what
/// was read is read again when it is written.
pub(crate) fn hint(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for (field, value) in lines(data) {
        let field = FIELDS[usize::from(field) % FIELDS.len()];
        headers.append(HeaderName::from_static(field), value);
    }
    let hint = RateLimitHint::read(&headers);
    let day = Duration::from_secs(86_400);
    assert!(hint.reset.unwrap_or_default() <= day && hint.wait() <= day, "{hint:?}");
    assert!(hint.retry_after.unwrap_or_default() <= Duration::from_secs(3_600), "{hint:?}");
    assert!(hint.window.is_none_or(|window| !window.is_zero() && window <= 366 * day), "{hint:?}");
    assert!(hint.remaining <= hint.limit.or(Some(u32::MAX)), "{hint:?}");

    if let RateLimitHint {
        limit: Some(limit),
        window: Some(window),
        remaining: Some(remaining),
        reset: Some(reset),
        ..
    } = hint
    {
        let standing = Standing {
            burst: limit,
            quota: limit.into(),
            window_s: window.as_secs(),
            remaining,
            effective_s: reset.as_secs(),
            full_s: reset.as_secs(),
        };
        let mut written = HeaderMap::new();
        standing.write(&mut written, LimitFields::Draft, &PolicyName::default());
        let again =
            RateLimitHint { retry_after: hint.retry_after, ..RateLimitHint::read(&written) };
        assert_eq!(again, hint);
    }
}
