//! What is wrong with a setting, and where it is said.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::problem::Fault;

/// Who says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A path in a file.
    File {
        file: Arc<str>,
        key: String,
    },
    Variable(String),
    /// A flag, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, key } => write!(f, "{key} in {file}"),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The command line by itself, or a call for help.
    #[error(transparent)]
    Args(#[from] clap::Error),
    /// It makes sense by itself, and not with what is said below it.
    #[error("with what the file and the environment say: {}", words(.0))]
    Together(clap::Error),
    #[error("cannot read the settings in {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {fault}", path.display())]
    File { path: PathBuf, fault: Fault },
    #[error("{said}: there is no such setting; {known}")]
    Unknown { said: Said, known: String },
    #[error("{said}: {rule}")]
    Bad { said: Said, rule: String },
    #[error("{first} and {second} are the same setting, {key}")]
    Twice { key: String, first: Said, second: Said },
}

/// What clap says, without its advice.
pub(super) fn words(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}
