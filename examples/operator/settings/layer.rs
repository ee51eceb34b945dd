//! One place where settings are said, taken apart into leaves.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::error::{Said, SettingsError};
use crate::problem::{Fault, Rule};
use crate::value::from_yaml;

/// How the names of variables begin.
pub(super) const PREFIX: &str = "HEADWORKS_";

/// What one place says, in its order.
pub(super) struct Layer {
    pub(super) leaves: Vec<Leaf>,
}

/// One setting.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Names joined by `.`.
    pub(super) key: String,
    /// No object, unless it is empty.
    pub(super) value: Value,
    pub(super) said: Said,
}

impl Leaf {
    /// What it says as one text; `None` if it says several things.
    pub(super) fn text(&self) -> Option<String> {
        match &self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(self.value.to_string()),
            _ => None,
        }
    }

    pub(super) fn unknown(&self, known: impl Into<String>) -> SettingsError {
        SettingsError::Unknown { said: self.said.clone(), known: known.into() }
    }

    pub(super) fn bad(&self, rule: impl Into<String>) -> SettingsError {
        SettingsError::Bad { said: self.said.clone(), rule: rule.into() }
    }
}

/// # Errors
/// It can't be read, or is not one mapping.
pub(super) fn of_file(path: PathBuf) -> Result<Layer, SettingsError> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(SettingsError::Read { path, source }),
    };
    let file: Arc<str> = path.to_string_lossy().into();
    let value =
        from_yaml(&text, 1).map_err(|fault| SettingsError::File { path: path.clone(), fault })?;
    let mut leaves = Vec::new();
    match value {
        Value::Null => {}
        Value::Object(_) => flatten(&file, "", value, &mut leaves),
        _ => {
            let fault = Fault::new("", Rule::UnknownForm("settings are names and their values"));
            return Err(SettingsError::File { path, fault });
        }
    }
    Ok(Layer { leaves })
}

fn flatten(file: &Arc<str>, key: &str, value: Value, leaves: &mut Vec<Leaf>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(file, &key, value, leaves);
            }
        }
        value => {
            let said = Said::File { file: Arc::clone(file), key: key.to_owned() };
            leaves.push(Leaf { key: key.to_owned(), value, said });
        }
    }
}

/// What the variables say, and the file that one of them names.
pub(super) fn of_environment(
    variables: impl IntoIterator<Item = (String, String)>,
) -> (Option<PathBuf>, Layer) {
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort();
    let (mut config, mut leaves) = (None, Vec::new());
    for (name, text) in variables {
        match name.strip_prefix(PREFIX) {
            None => {}
            Some("CONFIG") => config = Some(PathBuf::from(text)),
            Some(rest) if is_service_link(rest) => {}
            Some(rest) => {
                let key = rest.to_ascii_lowercase().replace("__", ".");
                let said = Said::Variable(name);
                leaves.push(Leaf { key, value: Value::String(text), said });
            }
        }
    }
    (config, Layer { leaves })
}

/// Kubernetes gives every container variables of all services: one that is called `headworks` brings
/// `HEADWORKS_SERVICE_HOST`, `HEADWORKS_PORT_8080_TCP` and more. They are nobody's setting.
fn is_service_link(name: &str) -> bool {
    let is_word = |word: &str| word == "PORT";
    name.split('_').any(is_word) || name.ends_with("SERVICE_HOST")
}
