//! A text as the kind of value that stands where it goes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::time;

/// `text` as a value like `like`. A time is `250ms`, `5s` or `2m`; a list has commas between its items,
/// or is JSON; what may be absent is so by `null`.
pub(super) fn typed(text: &str, like: &Value) -> Result<Value, String> {
    let as_json = || serde_json::from_str::<Value>(text);
    match like {
        _ if is_time(like) && text != "null" => time(text).map(of_time),
        Value::String(_) if !text.starts_with('{') => Ok(text.into()),
        Value::Array(_) if !text.starts_with('[') => Ok(text.split(',').map(str::trim).collect()),
        _ => match as_json() {
            Ok(value) => Ok(value),
            Err(_) => Ok(time(text).map_or_else(|_| text.into(), of_time)),
        },
    }
}

fn of_time(time: Duration) -> Value {
    json!(time)
}

/// Whether this is how serde writes a [`Duration`].
fn is_time(value: &Value) -> bool {
    let fields = value.as_object().map(|map| map.keys().map(String::as_str).collect::<Vec<_>>());
    fields.is_some_and(|mut fields| {
        fields.sort_unstable();
        fields == ["nanos", "secs"]
    })
}
