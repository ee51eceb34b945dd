//! YAML text.

use std::cell::RefCell;

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::MAX_DEPTH;
use super::strict::{Strict, Trail};
use crate::problem::{Fault, Rule};

/// Reads one YAML document; `first_line` is its place in the file, for the messages.
///
/// # Errors
/// Not YAML, a duplicate key, nested too deep, or aliases that expand too far.
pub(crate) fn from_yaml(text: &str, first_line: u64) -> Result<Value, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH + 1, // the reader below says it with a pointer first
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: 8 << 20,
            max_total_scalar_bytes: 8 << 20,
            max_aliases: 10_000,
            max_events: 2_000_000,
            max_nodes: 1_000_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let trail = RefCell::new(Trail::default());
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        Strict::reader(&trail).deserialize(yaml)
    });
    let place = Place { text, first_line };
    read.map_err(|error| trail.into_inner().fault(|| explain(&error, &place)))
}

/// What messages about a document need to know of it.
struct Place<'a> {
    text: &'a str,
    first_line: u64,
}

impl Place<'_> {
    /// The parser counts lines from the start of the document; the author counts from the file's.
    fn line(&self, line: u64) -> u64 {
        self.first_line + line.saturating_sub(1)
    }

    /// Words for where an error is.
    fn of(&self, error: &Error) -> String {
        error
            .location()
            .map_or_else(String::new, |at| format!(", at line {}", self.line(at.line())))
    }

    /// The tab behind an error, which the parser may notice a line too early: the line it indents.
    fn tab(&self, error: &Error) -> Option<u64> {
        let first = error.location()?.line();
        let is_indented_by_tab =
            |line: &str| line.trim_start_matches(' ').starts_with('\t') && !line.trim().is_empty();
        let mut lines = (1..).zip(self.text.lines()).skip(usize::try_from(first).ok()? - 1).take(2);
        lines.find(|(_, line)| is_indented_by_tab(line)).map(|(number, _)| self.line(number))
    }
}

/// The rule behind an error, and the key it is about when only the parser knows it.
fn explain(error: &Error, place: &Place<'_>) -> (Option<String>, Rule) {
    let error = error.without_snippet();
    match error {
        Error::AliasError { error, .. } => explain(error, place),
        Error::DuplicateMappingKey { key, .. } => (key.clone(), Rule::DuplicateKey),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => (None, too_deep()),
        Error::Budget { breach, .. } => (None, Rule::Expands(too_much(breach) + &place.of(error))),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            (None, Rule::Expands(ALIASES.to_owned() + &place.of(error)))
        }
        // The scanner gives up on brackets before the reader gets to see them; it has only words.
        _ if error.to_string().contains("recursion limit") => (None, too_deep()),
        _ => (None, Rule::NotYaml(in_words(error, place))),
    }
}

fn too_deep() -> Rule {
    Rule::TooDeep { max: MAX_DEPTH }
}

const ALIASES: &str = "its aliases repeat too much";

fn too_much(breach: &BudgetBreach) -> String {
    let words = match breach {
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::MergeKeys { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => ALIASES,
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => "it has too many values",
        BudgetBreach::ScalarBytes { .. } => "its texts are too long",
        _ => "it is too much to read",
    };
    words.to_owned()
}

/// The parser's words, or the plain ones for their commonest cause.
fn in_words(error: &Error, place: &Place<'_>) -> String {
    if let Some(line) = place.tab(error) {
        return format!("a tab indents line {line}, where only spaces may");
    }
    match error.location() {
        Some(at) if place.first_line > 1 => {
            format!("{error} (line {} of the file)", place.line(at.line()))
        }
        _ => error.to_string(),
    }
}
