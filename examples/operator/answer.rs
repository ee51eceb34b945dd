//! What the LLM is to answer, and how strictly it is held to that.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::formats::{Fields, Nulls, integer, object, text};
use crate::intent::{NetworkIntent, Request};
use crate::names::{Name, Namespace, shortened};
use crate::problem::{Fault, Rule};
use crate::value::{Prefix, child, json_prefix};

/// Most targets in one answer: with the settings they fill one folder of 64 files.
pub(crate) const MAX_TARGETS: usize = 63;

/// Most replicas of one target.
const MAX_REPLICAS: u32 = 100;

/// The answer: what to do, to what, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) action: Action,
    pub(crate) targets: Vec<Target>,
    /// Open: whatever the manifests are to carry along.
    pub(crate) settings: Map<String, Value>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) namespace: Namespace,
    pub(crate) name: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<u32>,
}

/// What to do with the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Scale,
    Deploy,
    Configure,
}

impl Action {
    pub(crate) const WORDS: &'static str = "scale | deploy | configure";

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Deploy => "deploy",
            Self::Configure => "configure",
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        [Self::Scale, Self::Deploy, Self::Configure].into_iter().find(|a| a.as_str() == word)
    }

    /// The action behind a *type* of intent; types without one of their own configure something.
    pub(crate) fn of_type(word: &str) -> Self {
        match word {
            "scaling" => Self::Scale,
            "deployment" => Self::Deploy,
            _ => Self::Configure,
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let unknown =
            || serde::de::Error::unknown_variant(&word, &["scale", "deploy", "configure"]);
        Self::of_word(&word).ok_or_else(unknown)
    }
}

/// Why a text is not an answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// An accident of this one call: asking again may help.
    #[error("no single JSON object in the answer: {0}")]
    NoObject(&'static str),
    /// What was asked for cannot be: asking again does not help.
    #[error("the answer breaks a rule at {0}")]
    Broken(Fault),
}

/// Finds the one JSON object in a text and reads it as an answer.
///
/// # Errors
/// No object, more than one, or one that breaks a rule.
pub(crate) fn parse(text: &str) -> Result<Answer, AnswerError> {
    answer(&single_object(text)?).map_err(AnswerError::Broken)
}

/// Reads the answer to `intent`: an intent given in fields must come back equal.
///
/// # Errors
/// As [`parse`], or the answer says something else than the intent.
pub(crate) fn parse_for(intent: &NetworkIntent, text: &str) -> Result<Answer, AnswerError> {
    let answer = parse(text)?;
    match &intent.request {
        Request::Fields(asked) => equal(asked, &answer).map_err(AnswerError::Broken)?,
        Request::Text { .. } => {}
    }
    Ok(answer)
}

/// The single object within prose. A brace that opens no object is prose; one that opens an object
/// without an end means the answer was cut short.
fn single_object(text: &str) -> Result<Value, AnswerError> {
    let mut rest = text;
    let mut single = None;
    while let Some(start) = rest.find('{') {
        rest = &rest[start..];
        match json_prefix(rest) {
            Ok(_) if single.is_some() => return Err(AnswerError::NoObject("there are two")),
            Ok((value, length)) => {
                single = Some(value);
                rest = &rest[length..];
            }
            Err(Prefix::Fault(fault)) => return Err(AnswerError::Broken(fault)),
            Err(Prefix::Incomplete) => return Err(AnswerError::NoObject("it is cut short")),
            Err(Prefix::NotJson) if rest[1..].trim_start().starts_with('"') => {
                return Err(AnswerError::NoObject("it is malformed"));
            }
            Err(Prefix::NotJson) => rest = &rest[1..],
        }
    }
    single.ok_or(AnswerError::NoObject("there is none"))
}

/// The rules for the object.
fn answer(value: &Value) -> Result<Answer, Fault> {
    let fields = Fields::of(value, "", Nulls::Wrong)?;
    fields.only(&["action", "targets", "settings"])?;
    let action = fields.required("action", |value| {
        let was = text(value)?;
        Action::of_word(&was)
            .ok_or_else(|| Rule::OneOf { allowed: Action::WORDS, was: shortened(&was) })
    })?;
    Ok(Answer {
        action,
        targets: targets(&fields)?,
        settings: fields.required("settings", object)?,
    })
}

fn targets(fields: &Fields<'_>) -> Result<Vec<Target>, Fault> {
    let items = fields
        .list("targets", |item| Ok(item.clone()))?
        .ok_or_else(|| Fault::new("/targets", Rule::Required))?;
    if !(1..=MAX_TARGETS).contains(&items.len()) {
        let rule = Rule::Count { min: 1, max: MAX_TARGETS, was: items.len() };
        return Err(Fault::new("/targets", rule));
    }
    let mut targets: Vec<Target> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = child("/targets", &index.to_string());
        let target = target(item, &at)?;
        if targets.iter().any(|t| t.namespace == target.namespace && t.name == target.name) {
            return Err(Fault::new(at, Rule::SameTarget));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn target(item: &Value, at: &str) -> Result<Target, Fault> {
    let fields = Fields::of(item, at, Nulls::Wrong)?;
    fields.only(&["namespace", "name", "replicas"])?;
    Ok(Target {
        namespace: fields.required("namespace", |value| Namespace::new(&text(value)?))?,
        name: fields.required("name", |value| Name::new(&text(value)?))?,
        replicas: fields.optional("replicas", integer(0..=MAX_REPLICAS))?,
    })
}

/// The first place where the answer is not what was asked.
fn equal(asked: &Answer, answer: &Answer) -> Result<(), Fault> {
    let differs = |at: String| Err(Fault::new(at, Rule::Differs("the intent gives it in fields")));
    if asked.action != answer.action {
        return differs("/action".to_owned());
    }
    if asked.targets.len() != answer.targets.len() {
        return differs("/targets".to_owned());
    }
    let mut pairs = asked.targets.iter().zip(&answer.targets);
    if let Some(index) = pairs.position(|(asked, answer)| asked != answer) {
        return differs(child("/targets", &index.to_string()));
    }
    if asked.settings != answer.settings {
        let same = |key: &&String| asked.settings.get(*key) == answer.settings.get(*key);
        let mut keys = asked.settings.keys().chain(answer.settings.keys());
        let different = keys.find(|key| !same(key)).map_or("", String::as_str);
        return differs(child("/settings", different));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
