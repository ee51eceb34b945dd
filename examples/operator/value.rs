//! Reads JSON and YAML text into one JSON value, refusing what a plain decode loses in silence:
//! duplicate keys, nesting without end, aliases that explode.

mod json;
mod strict;
mod yaml;

pub(crate) use json::{Prefix, from_json, json_prefix};
pub(crate) use yaml::from_yaml;

/// Deepest nesting of arrays and objects.
pub(crate) const MAX_DEPTH: usize = 64;

/// A JSON pointer from its unescaped parts.
pub(crate) fn pointer<S: AsRef<str>>(parts: &[S]) -> String {
    parts.iter().fold(String::new(), |pointer, part| child(&pointer, part.as_ref()))
}

/// The pointer to a member of what `parent` points to.
pub(crate) fn child(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}
