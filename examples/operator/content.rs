//! The hash that tells whether a document has changed.

use serde_json::Value;

/// Hashes a document's meaning: neither white space, nor the order of keys, nor JSON or YAML
/// makes a difference. FNV-1a over a canonical walk, 128 bits; the same in every run, because
/// commits of earlier runs are compared with it. It guards against accidents, not attackers.
pub(crate) fn content_hash(document: &Value) -> u128 {
    let mut hash = Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    hash.value(document);
    hash.0
}

struct Fnv(u128);

impl Fnv {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    /// Length before text, so that no two documents can run together into the same bytes.
    fn text(&mut self, tag: u8, text: &str) {
        self.bytes(&[tag]);
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes(b"n"),
            Value::Bool(true) => self.bytes(b"t"),
            Value::Bool(false) => self.bytes(b"f"),
            Value::Number(number) => self.text(b'#', &number.to_string()),
            Value::String(text) => self.text(b'"', text),
            Value::Array(items) => {
                self.bytes(b"[");
                items.iter().for_each(|item| self.value(item));
                self.bytes(b"]");
            }
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_unstable_by_key(|(key, _)| *key);
                self.bytes(b"{");
                for (key, value) in members {
                    self.text(b'"', key);
                    self.value(value);
                }
                self.bytes(b"}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_makes_no_difference_and_every_value_does() {
        let one = crate::value::from_json(r#"{"a":1,"b":[true,null]}"#).unwrap();
        let same = crate::value::from_yaml("b: [true, ~]\na: 1\n", 1).unwrap();
        assert_eq!(content_hash(&one), content_hash(&same));
        for other in [
            json!({"a": 2, "b": [true, null]}),
            json!({"a": "1", "b": [true, null]}),
            json!({"a": 1, "b": [true], "c": null}),
            json!({"a": 1, "b": [[true], null]}),
        ] {
            assert_ne!(content_hash(&one), content_hash(&other), "{other}");
        }
    }

    #[test]
    fn the_hash_never_changes_between_versions() {
        let document = json!({"intent_type": "scaling", "replicas": 5});
        assert_eq!(format!("{:032x}", content_hash(&document)), "b259eafcba7bf51f0d9b1c4e3f809787");
    }
}
