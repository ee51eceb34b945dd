//! Writes a JSON value as YAML: the same bytes for the same value, readable in a diff.

use std::fmt::Write;

use serde_json::Value;

/// One document, in block style, keys in the order of the alphabet, without `---`.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

/// Writes a value that starts on a line of its own.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                pad(out, indent);
                scalar(out, key);
                out.push(':');
                after(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                pad(out, indent);
                out.push('-');
                after(out, item, indent);
            }
        }
        other => {
            pad(out, indent);
            flow(out, other);
            out.push('\n');
        }
    }
}

/// Writes a value after `key:` or `-`: on the same line if it is short.
fn after(out: &mut String, value: &Value, indent: usize) {
    let is_long = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    out.push(if is_long { '\n' } else { ' ' });
    match is_long {
        true => block(out, value, indent + 2),
        false => {
            flow(out, value);
            out.push('\n');
        }
    }
}

fn flow(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => scalar(out, text),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// Plain where no reader of any YAML version could take it for something else, else quoted.
fn scalar(out: &mut String, text: &str) {
    if is_plain(text) { out.push_str(text) } else { quoted(out, text) }
}

fn is_plain(text: &str) -> bool {
    const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let body = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(body)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_text_is_what_a_person_would_write() {
        let value = json!({"apiVersion": "apps/v1", "spec": {"replicas": 3, "args": ["a", {"b": []}]}, "x": {}});
        let expected = "apiVersion: apps/v1\nspec:\n  args:\n    - a\n    -\n      b: []\n  replicas: 3\nx: {}\n";
        assert_eq!(to_yaml(&value), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
        #[test]
        fn any_value_reads_back_equal(value in any_value()) {
            prop_assert_eq!(crate::value::from_yaml(&to_yaml(&value), 1).unwrap(), value);
        }
    }
}
