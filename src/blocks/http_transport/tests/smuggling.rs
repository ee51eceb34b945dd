//! What users may put into a URL or a header: whatever it is, one request comes of it at most.

use proptest::prelude::*;

use super::super::claims;
use crate::ground::cases::fuzz_seeds;

/// Strings in which what separates things is likely.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "\r\n",
            "\n",
            "\r",
            " ",
            "\t",
            "\0",
            ":",
            "/",
            "//",
            "@",
            "?",
            "#",
            "%0d%0a",
            "\\",
            "[",
            "]",
            "http://",
            "https://",
            "a.example",
            ":80",
            "HTTP/1.1",
            "Host: b",
            "é",
            "\u{2028}",
            "Content-Length: 5",
            "GET /second",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn method() -> impl Strategy<Value = String> {
    let known = ["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"].map(str::to_owned).to_vec();
    prop_oneof![prop::sample::select(known), nasty()]
}

fn name() -> impl Strategy<Value = String> {
    let known =
        ["host", "content-length", "transfer-encoding", "connection", "proxy-authorization"];
    let known = known.map(str::to_owned).to_vec();
    prop_oneof![prop::sample::select(known), nasty()]
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(4_000))]

    #[test]
    fn a_url_and_a_header_of_a_users_make_one_request_or_none(
        prefix in prop::sample::select(
            vec!["", "http://", "http://a.example", "http://a.example/", "https://a.example/"],
        ),
        url in nasty(),
        headers in prop::collection::vec((name(), nasty()), 0..3),
        method in method(),
        body in nasty(),
    ) {
        let headers: Vec<_> = headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        claims::one_request_or_none(&format!("{prefix}{url}"), &method, &headers, &body);
    }
}

#[test]
fn the_seeds_of_the_fuzz_targets_hold() {
    fuzz_seeds("http_input").iter().for_each(|seed| claims::http_input(seed));
    fuzz_seeds("proxy_environment").iter().for_each(|seed| claims::proxy_environment(seed));
    #[cfg(feature = "compression")]
    fuzz_seeds("body_decoder").iter().for_each(|seed| claims::decoder::body(seed));
}
