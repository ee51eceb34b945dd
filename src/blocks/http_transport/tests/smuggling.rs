//! What users may put into a URL or a header: whatever it is, one request comes of it at most.

use http::header::HeaderName;
use http::{HeaderValue, Method, Request, Uri};
use proptest::prelude::*;

use super::super::host::{HostKey, prepare};

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

/// The head as HTTP/1.1 writes it.
fn head(request: &Request<()>) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        head.extend(name.as_str().as_bytes());
        head.extend(b": ");
        head.extend(value.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    head
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(4_000))]

    #[test]
    fn a_url_and_a_header_of_a_users_make_one_request_or_none(
        prefix in prop::sample::select(vec!["", "http://", "http://a.example", "http://a.example/"]),
        url in nasty(),
        name in nasty(),
        value in nasty(),
        method in nasty(),
    ) {
        let Ok(uri) = Uri::try_from(format!("{prefix}{url}")) else { return Ok(()) };
        let Ok(key) = HostKey::of(&uri) else { return Ok(()) };
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        if let Ok(method) = Method::from_bytes(method.as_bytes()) {
            *request.method_mut() = method;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            request.headers_mut().append(name, value);
        }
        if prepare(&mut request, &key).is_err() {
            return Ok(());
        }
        let head = head(&request);
        let lines: Vec<_> = head.split(|byte| *byte == b'\n').collect();
        // Request line, the headers, the empty line, and nothing after it.
        prop_assert_eq!(lines.len(), request.headers().len() + 3);
        prop_assert_eq!(head.iter().filter(|byte| **byte == b'\r').count(), lines.len() - 1);
        prop_assert!(lines[0].split(|byte| *byte == b' ').count() == 3, "{:?}", request);
        prop_assert!(request.uri().path().starts_with('/'));
        prop_assert!(request.uri().authority().is_none(), "origin form");
        prop_assert_eq!(request.headers().get_all("host").iter().count(), 1);
        for framing in ["content-length", "transfer-encoding", "upgrade"] {
            prop_assert!(!request.headers().contains_key(framing));
        }
        prop_assert!(!key.authority.as_str().contains(['@', '/', ' ', '\\', '?', '#']));
    }
}
