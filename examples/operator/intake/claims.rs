//! What holds of every document, whatever its bytes are: for the fuzz target, and for its seeds.

use super::*;

pub(crate) fn claims(bytes: &[u8]) {
    let claimed = [None, Some("application/json"), Some("application/yaml"), Some("text/plain")];
    let requests = claimed.map(|media_type| Origin::Request {
        media_type: media_type.map(str::to_owned),
        tenant: "lab".into(),
    });
    let files = ["a.json", "a.yaml", "a.txt"].map(|path| Origin::File { path: path.into() });
    for origin in requests.into_iter().chain(files) {
        assert_eq!(meaning(bytes, &origin), meaning(bytes, &origin), "twice the same: {origin:?}");
    }
}

/// A key, and the content.
type Meant = (Arc<str>, Option<u128>);

/// What each document means, or what is wrong with it.
fn meaning(bytes: &[u8], origin: &Origin) -> Vec<Result<Meant, String>> {
    let decoded = Documents { deadline: None }.decode(bytes, origin);
    decoded.into_iter().map(|one| one.map(checked).map_err(told)).collect()
}

/// A key is a folder of the repository.
fn checked(order: Order) -> Meant {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    for part in order.key.split('/') {
        let is_name = part.bytes().all(is_plain) && !part.is_empty() && !part.starts_with('.');
        assert!(is_name, "{}", order.key);
    }
    (order.key, order.content)
}

fn told(rejected: Rejected) -> String {
    let Rejected::Invalid { pointer, rule } = rejected else { return rejected.to_string() };
    assert!(pointer.is_empty() || pointer.starts_with('/'), "no JSON pointer: {pointer}");
    assert!(!rule.is_empty());
    format!("{pointer}: {rule}")
}
