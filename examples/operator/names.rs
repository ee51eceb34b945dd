//! Names that are safe everywhere they go: in Kubernetes, in a path and in a commit message.
//!
//! A [`Name`] or [`Namespace`] that exists is valid, so nothing behind the decoder checks again
//! for `..`, `/` or upper case.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::problem::Rule;

/// A DNS-1123 subdomain, at most 253 characters: what Kubernetes calls an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(Arc<str>);

/// A DNS-1123 label, at most 63 characters: what Kubernetes calls a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Namespace(Arc<str>);

impl Name {
    const MAX: usize = 253;

    pub(crate) fn new(name: &str) -> Result<Self, Rule> {
        let valid = name.len() <= Self::MAX && name.split('.').all(is_label);
        valid.then(|| Self(name.into())).ok_or_else(|| Rule::Dns {
            kind: "subdomain",
            allowed: "lower-case letters, digits, `-` and `.`",
            max: Self::MAX,
            was: shortened(name),
        })
    }
}

impl Namespace {
    const MAX: usize = 63;

    pub(crate) fn new(name: &str) -> Result<Self, Rule> {
        let valid = name.len() <= Self::MAX && is_label(name);
        valid.then(|| Self(name.into())).ok_or_else(|| Rule::Dns {
            kind: "label",
            allowed: "lower-case letters, digits and `-`",
            max: Self::MAX,
            was: shortened(name),
        })
    }

    /// The same text, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`; the lengths are the callers'.
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What an error message repeats of the input: enough to find it, never a megabyte.
pub(crate) fn shortened(text: &str) -> String {
    const MAX: usize = 80;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

macro_rules! text_like {
    ($type:ident) => {
        impl Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
text_like!(Name);
text_like!(Namespace);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_1123_subdomains() {
        let label = "a".repeat(63);
        for good in ["a", "web-1", "a.b.c", "0", &label, "x--y"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "", "-a", "a-", "A", "a_b", "a..b", "..", ".", "/etc", "a/b", "a\\b", "ä", "a b", &long,
        ] {
            assert!(matches!(Name::new(bad), Err(Rule::Dns { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_message_names_what_is_allowed() {
        assert_eq!(
            Name::new("Web_1").unwrap_err().to_string(),
            "must be a DNS-1123 subdomain: at most 253 of lower-case letters, digits, `-` and `.`, \
             a letter or digit at both ends, not \"Web_1\""
        );
        assert!(!Namespace::new("a.b").unwrap_err().to_string().contains("`.`"));
    }

    #[test]
    fn namespaces_are_dns_1123_labels() {
        assert!(Namespace::new("oran-system").is_ok());
        let long = "a".repeat(64);
        for bad in ["", "a.b", "..", "/", "Default", &long] {
            assert!(matches!(Namespace::new(bad), Err(Rule::Dns { .. })), "{bad:?}");
        }
    }
}
