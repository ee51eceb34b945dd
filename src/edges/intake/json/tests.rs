use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;
use crate::Intent;
use crate::edges::intake::{Decode, Origin, Rejected};
use crate::ground::cases::{cases, fuzz_seeds};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    target: String,
    replicas: u32,
    #[serde(default)]
    limits: Vec<Limit>,
    #[serde(default)]
    labels: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Limit {
    most: u8,
}

fn origin() -> Origin {
    Origin::File { path: "a.json".into() }
}

fn intent(scale: Scale, _: &Origin) -> Result<Intent<usize>, Rejected> {
    if scale.replicas > 100 {
        return Err(Rejected::invalid("/replicas", "at most 100"));
    }
    if scale.target == "other" {
        return Err(Rejected::skipped("another kind"));
    }
    let most = scale.limits.iter().map(|limit| limit.most).sum::<u8>();
    Ok(Intent::new(scale.target, scale.labels.len() + usize::from(most)))
}

fn decode() -> JsonDecode<usize> {
    JsonDecode::new(JsonDecodeConfig::default().with_max_bytes(100_000), intent).unwrap()
}

fn one(bytes: &[u8]) -> Result<Intent<usize>, Rejected> {
    let mut read = decode().decode(bytes, &origin());
    assert_eq!(read.len(), 1);
    read.remove(0)
}

/// The pointer and the rule of what is refused.
fn refused(bytes: &[u8]) -> (String, String) {
    match one(bytes) {
        Err(Rejected::Invalid { pointer, rule }) => (pointer, rule),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_becomes_an_intent() {
    let read = one(br#" {"target": "ran/du", "replicas": 5, "labels": {"a": 1, "b": [2]}} "#);
    assert_eq!(read.unwrap(), Intent::new("ran/du", 2));
    let skipped = one(br#"{"target": "other", "replicas": 5}"#);
    assert_eq!(skipped, Err(Rejected::skipped("another kind")));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let table: [(&[u8], &str, &str); 22] = [
        (b"", "", "one JSON text: EOF"),
        (b" \n ", "", "one JSON text: EOF"),
        (b"\xef\xbb\xbf{}", "", "one JSON text: expected value"),
        (b"{} {}", "", "one JSON text: trailing characters"),
        (b"{\"target\": \"a\", \"replicas\": 5}x", "", "one JSON text: trailing characters"),
        (b"{\"target\": \"a\", \"repl", "", "one JSON text: EOF"),
        (b"{\"target\": \"a", "/target", "one JSON text: EOF"),
        (b"// no\n{}", "", "one JSON text: expected value"),
        (b"{\"target\": \"\xff\"}", "", "UTF-8 (byte 12 is not)"),
        (b"{\"target\": \"\\ud800\"}", "/target", "one JSON text: "),
        (b"{\"target\": 1e999}", "/target", "one JSON text: number out of range"),
        (b"{\"target\": NaN}", "/target", "one JSON text: expected value"),
        (b"{\"limits\": [{}, {\"most\": 01}]}", "/limits/1/most", "one JSON text: "),
        (b"{\"target\": \"a\", \"target\": \"b\"}", "/target", "each name of an object once"),
        // The same name, said in another way, in what nobody looks at.
        (
            b"{\"labels\": {\"~/\": [0, {\"a\": 1, \"\\u0061\": 2}]}}",
            "/labels/~0~1/1/a",
            "each name",
        ),
        (b"{\"target\": \"a\", \"replicas\": 101}", "/replicas", "at most 100"),
        (b"{\"target\": \"a\", \"replicas\": -1}", "/replicas", "invalid value: integer `-1`"),
        (b"{\"target\": \"a\", \"replicas\": \"5\"}", "/replicas", "invalid type: string \"5\""),
        (b"{\"target\": \"a\"}", "", "missing field `replicas`"),
        (
            b"{\"target\": \"a\", \"limits\": [{\"most\": 1}, {}]}",
            "/limits/1",
            "missing field `most`",
        ),
        (b"{\"target\": \"a\", \"more\": 5}", "/more", "unknown field `more`"),
        (b"[]", "", "invalid "),
    ];
    for (bytes, pointer, rule) in table {
        let said = refused(bytes);
        let text = String::from_utf8_lossy(bytes);
        assert!(said.0 == pointer && said.1.starts_with(rule), "{text}: {said:?}");
    }
}

#[test]
fn depth_and_size_are_refused_exactly_beyond_their_bounds() {
    let nested = |deep: usize| {
        let (open, close) = ("[".repeat(deep), "]".repeat(deep));
        format!("{{\"target\": \"a\", \"replicas\": 1, \"labels\": {{\"x\": {open}{close}}}}}")
    };
    assert!(one(nested(62).as_bytes()).is_ok());
    let (pointer, rule) = refused(nested(63).as_bytes());
    assert_eq!(rule, "at most 64 levels deep");
    assert_eq!(pointer, format!("/labels/x{}", "/0".repeat(62)));
    assert_eq!(refused(nested(10_000).as_bytes()).1, "at most 64 levels deep");
    // Nothing is left of an object's names for its neighbours.
    let beside =
        br#"{"target": "a", "replicas": 1, "labels": {"x": {"a": 1}, "y": {"a": {"x": 1}}}}"#;
    assert!(one(beside).is_ok());

    let padded = |bytes: usize| {
        let document = r#"{"target": "a", "replicas": 1}"#;
        format!("{document}{}", " ".repeat(bytes - document.len()))
    };
    assert!(one(padded(100_000).as_bytes()).is_ok());
    assert_eq!(refused(padded(100_001).as_bytes()).1, "at most 100000 bytes");
}

#[test]
fn a_name_said_twice_is_found_among_many() {
    let object = |names: &[usize]| {
        let members: Vec<_> = names.iter().map(|name| format!("\"n{name}\": 0")).collect();
        let labels = members.join(", ");
        format!("{{\"target\": \"a\", \"replicas\": 1, \"labels\": {{{labels}}}}}")
    };
    for n in [2, 15, 16, 17, 18, 1000] {
        let mut names: Vec<_> = (0..n).collect();
        assert_eq!(one(object(&names).as_bytes()).unwrap().payload, n);
        for twice in [0, n / 2, n - 1] {
            names.push(twice);
            assert_eq!(refused(object(&names).as_bytes()).0, format!("/labels/n{twice}"));
            names.pop();
        }
    }
}

#[test]
fn what_is_said_of_a_document_is_short() {
    let long = "x".repeat(20_000);
    for text in [
        format!("{{\"target\": \"a\", \"{long}\": 1}}"),
        format!("{{\"target\": \"a\", \"replicas\": \"{long}\"}}"),
        format!("{{\"labels\": {{\"{long}\": {{\"é{long}\": }}}}}}"),
    ] {
        let (pointer, rule) = refused(text.as_bytes());
        assert!(pointer.len() <= 1024 + 3 && rule.len() <= 512 + 3, "{}", rule.len());
        assert!(pointer.ends_with('…') || rule.ends_with('…'));
    }
}

#[test]
fn a_document_may_borrow_from_the_bytes() {
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        target: &'a str,
        #[serde(borrow)]
        labels: &'a RawValue,
    }
    struct Reader;
    impl ReadJson<String> for Reader {
        type Document<'de> = Borrowed<'de>;

        fn intent(&self, it: Borrowed<'_>, _: &Origin) -> Result<Intent<String>, Rejected> {
            Ok(Intent::new(it.target, it.labels.get().to_owned()))
        }
    }
    let decode = JsonDecode::reading(JsonDecodeConfig::default(), Reader).unwrap();
    let read = decode.decode_one(br#"{"target": "a", "labels": {"b":  1}}"#, &origin());
    assert_eq!(read.unwrap().payload, r#"{"b":  1}"#);
    // What is passed on unread was read all the same.
    let read = decode.decode_one(br#"{"target": "a", "labels": {"b": 1, "b": 2}}"#, &origin());
    assert_eq!(read.unwrap_err().to_string(), "at /labels/b: each name of an object once");
}

#[test]
fn impossible_bounds_are_named() {
    let config = JsonDecodeConfig::default;
    for (config, field) in [
        (config().with_max_bytes(0), "json_decode.max_bytes"),
        (config().with_max_depth(0), "json_decode.max_depth"),
        (config().with_max_depth(128), "json_decode.max_depth"),
    ] {
        let error = JsonDecode::new(config, intent).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let config: JsonDecodeConfig = serde_json::from_str(r#"{"max_depth": 3}"#).unwrap();
    assert_eq!(config, JsonDecodeConfig::default().with_max_depth(3));
}

#[cfg(feature = "schema")]
mod with_a_schema {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_that_breaks_it_is_refused_before_it_is_read() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {
                "replicas": {"maximum": 50},
                "labels": {"properties": {"since": {"format": "date"}}},
            },
        });
        let decode = decode().with_schema(&schema).unwrap();
        let read = |text: &str| decode.decode_one(text.as_bytes(), &origin());
        assert!(read(r#"{"target": "a", "replicas": 50}"#).is_ok());
        let rejected = read(r#"{"target": "a", "replicas": 51}"#).unwrap_err().to_string();
        assert_eq!(rejected, "at /replicas: value is greater than the maximum of 50");
        let since = r#"{"target": "a", "replicas": 1, "labels": {"since": "yesterday"}}"#;
        let rejected = read(since).unwrap_err().to_string();
        assert!(rejected.starts_with("at /labels/since: "), "{rejected}");
        assert!(!rejected.contains("yesterday"), "{rejected}");
    }

    #[test]
    fn nothing_is_fetched_for_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        let reference = format!("file://{}", file.path().display());
        for reference in ["http://127.0.0.1:1/schema.json", "https://example.com/a", &reference] {
            let error = decode().with_schema(&json!({"$ref": reference})).unwrap_err();
            assert!(error.to_string().starts_with("the JSON Schema can't be used: "), "{error}");
        }
        let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}});
        assert!(decode().with_schema(&own).is_ok());
    }

    #[test]
    fn what_is_no_schema_or_no_plain_pattern_is_an_error() {
        for schema in [json!({"type": 5}), json!({"pattern": "(a"}), json!({"pattern": "(?=a)b"})] {
            assert!(decode().with_schema(&schema).is_err(), "{schema}");
        }
        // Linear: a backtracking matcher would not come back from this.
        let schema = json!({"properties": {"target": {"pattern": "^(a+)+$"}}});
        let decode = decode().with_schema(&schema).unwrap();
        let text = format!("{{\"target\": \"{}b\", \"replicas\": 1}}", "a".repeat(50_000));
        assert!(decode.decode_one(text.as_bytes(), &origin()).is_err());
    }
}

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    fuzz_seeds("json_decode").iter().for_each(|seed| claims(seed));
}

proptest! {
    #![proptest_config(cases(512))]

    /// Texts that are nearly JSON.
    #[test]
    fn chance_holds(pieces in prop::collection::vec(0_usize..16, 0..60)) {
        const PIECES: [&str; 16] = [
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"\\u0061\"", "\"a\":", "\"b\":", "1",
            "{\"a\":", " ", "null", "\"",
        ];
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        claims(text.as_bytes());
    }

    #[test]
    fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        claims(&bytes);
    }
}
