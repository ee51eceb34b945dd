//! Words and levels for the four classes.

use headworks::Priority;
use serde_json::Value;

use super::fields::{integer, text, wrong_type};
use crate::names::shortened;
use crate::problem::Rule;

/// A level from 0 to 10.
pub(super) fn level(value: &Value) -> Result<Priority, Rule> {
    Ok(match integer(0..=10)(value)? {
        0..=2 => Priority::Low,
        3..=5 => Priority::Normal,
        6..=8 => Priority::High,
        _ => Priority::Urgent,
    })
}

/// The words of the custom resource, in any case.
pub(super) fn word(value: &Value) -> Result<Priority, Rule> {
    of_word(value, "low | medium | high | critical")
}

/// Any word or a level.
pub(super) fn word_or_level(value: &Value) -> Result<Priority, Rule> {
    match value {
        Value::String(_) => of_word(value, "low | medium | normal | high | critical | urgent"),
        Value::Number(_) => level(value),
        _ => Err(wrong_type("a word or a level from 0 to 10", value)),
    }
}

fn of_word(value: &Value, allowed: &'static str) -> Result<Priority, Rule> {
    let was = text(value)?;
    let word = was.to_ascii_lowercase();
    let refused = || Rule::OneOf { allowed, was: shortened(&was) };
    let priority = match word.as_str() {
        "low" => Priority::Low,
        "medium" | "normal" => Priority::Normal,
        "high" => Priority::High,
        "critical" | "urgent" => Priority::Urgent,
        _ => return Err(refused()),
    };
    allowed.split(" | ").any(|one| one == word).then_some(priority).ok_or_else(refused)
}
