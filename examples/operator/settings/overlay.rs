//! What is said about the fields of the library's rooms, laid over their defaults.

use headworks::rate_limit::TieredQuota;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::{Said, SettingsError};
use super::layer::Leaf;
use super::typed::typed;

/// The rooms that have fields here.
const ROOMS: [&str; 7] =
    ["pipeline", "breaker", "transport", "llm_cache", "watch", "serve", "state"];

/// Leaves in the order of their layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay(Vec<Leaf>);

impl Overlay {
    /// # Errors
    /// There is no such room, or a flag says it.
    pub(super) fn add(&mut self, leaf: Leaf) -> Result<(), SettingsError> {
        let room = leaf.key.split('.').next().unwrap_or_default();
        if !ROOMS.contains(&room) {
            return Err(leaf.unknown(format!("rooms with fields are {}", ROOMS.join(", "))));
        }
        if leaf.key.starts_with("serve.bind") {
            return Err(leaf.unknown("it is called `serve.address`, with `serve_anywhere`"));
        }
        self.0.push(leaf);
        Ok(())
    }

    /// One room's configuration. Each leaf is tried by itself, so that what is wrong has a name.
    ///
    /// # Errors
    /// A leaf names no field, or its value can't be that field's.
    pub(super) fn over<T>(&self, room: &str, base: T) -> Result<T, SettingsError>
    where
        T: Serialize + DeserializeOwned,
    {
        let leaves = self.0.iter().filter(|leaf| leaf.key.split('.').next() == Some(room));
        let mut config = base;
        for leaf in leaves {
            let mut tree =
                serde_json::to_value(&config).map_err(|error| leaf.bad(error.to_string()))?;
            set(&mut tree, leaf)?;
            config = serde_json::from_value(tree).map_err(|error| refused(leaf, &error))?;
        }
        Ok(config)
    }

    /// Who has the last word about the field of this path.
    pub(super) fn said_by(&self, key: &str) -> Option<&Said> {
        self.0.iter().rev().find(|leaf| leaf.key == key).map(|leaf| &leaf.said)
    }
}

fn refused(leaf: &Leaf, error: &serde_json::Error) -> SettingsError {
    let words = error.to_string();
    match words.starts_with("unknown field") {
        true => leaf.unknown(words),
        false => leaf.bad(words),
    }
}

/// Puts a leaf's value in its place. What is not there by default and has fields begins with theirs.
fn set(tree: &mut Value, leaf: &Leaf) -> Result<(), SettingsError> {
    let mut place = tree;
    let mut path = leaf.key.split('.').next().unwrap_or_default().to_owned();
    for name in leaf.key.split('.').skip(1) {
        if !place.is_object() {
            *place = begun(&path);
        }
        let Value::Object(fields) = place else { return Err(leaf.bad("has no fields")) };
        place = fields.entry(name).or_insert(Value::Null);
        path = format!("{path}.{name}");
    }
    *place = match &leaf.value {
        Value::Object(_) => begun(&path),
        Value::String(text) => typed(text, place).map_err(|rule| leaf.bad(rule))?,
        value => value.clone(),
    };
    Ok(())
}

/// A part that has fields, before any of them is said.
fn begun(path: &str) -> Value {
    match path {
        "pipeline.ingress" | "serve.rate" => json!(TieredQuota::default()),
        _ => Value::Object(Map::new()),
    }
}
