#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::claims;
use crate::ground::cases::fuzz_seeds;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

mod client_ip;
mod hint;
mod layer;
mod standing;
mod structured;

/// Of names and values; a name may come several times.
fn headers<V: AsRef<[u8]>>(lines: impl IntoIterator<Item = (&'static str, V)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

#[test]
fn the_seeds_of_the_fuzz_targets_hold() {
    fuzz_seeds("client_ip").iter().for_each(|seed| claims::client_ip(seed));
    fuzz_seeds("rate_limit_headers").iter().for_each(|seed| claims::hint(seed));
}
