//! Where settings come from: a file, then the environment, then the command line. What comes later
//! wins.
//!
//! A setting is named by its flag, or by the place of a field in a room of the library: `drain`, and
//! `pipeline.key_backoff.first`. In the file that is a path in YAML (or JSON, which is YAML), in the
//! environment `HEADWORKS_DRAIN` and `HEADWORKS_PIPELINE__KEY_BACKOFF__FIRST`.

mod error;
mod layer;
mod overlay;
mod rooms;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser};

use crate::cli::Options;

pub(crate) use error::SettingsError;
use layer::{Layer, Leaf};
use overlay::Overlay;
pub(crate) use rooms::Rooms;

/// Reads everything: arguments with the program's name first, and whatever of the environment begins
/// with `HEADWORKS_`.
///
/// # Errors
/// The first setting that is unknown or can't be what it is, with where it is said.
pub(crate) fn read(
    args: impl IntoIterator<Item = impl Into<OsString>>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Options, SettingsError> {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let (named, environment) = layer::of_environment(environment);
    let layers = match config_of(&args).or(named) {
        Some(path) => vec![layer::of_file(path)?, environment],
        None => vec![environment],
    };
    let mut lower = Lower::default();
    for layer in layers {
        lower.take(layer)?;
    }
    let Lower { flags, overlay } = lower;
    let mut all: Vec<OsString> = args.iter().take(1).cloned().collect();
    all.extend(flags.values().flatten().map(OsString::from));
    all.extend(args.iter().skip(1).cloned());
    let alone = |error| match flags.is_empty() || Options::parse_checked(&args).is_err() {
        true => SettingsError::Args(error),
        false => SettingsError::Together(error),
    };
    let mut options = Options::parse_checked(&all).map_err(alone)?;
    options.rooms = Rooms::of(&options, &overlay)?;
    Ok(options)
}

/// `--config FILE` says which file is below everything else.
fn config_of(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1);
    let mut config = None;
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if let Some(path) = text.strip_prefix("--config=") {
            config = Some(PathBuf::from(path));
        } else if text == "--config" {
            config = args.next().map(PathBuf::from);
        }
    }
    config
}

/// What is said below the command line.
#[derive(Default)]
struct Lower {
    /// By flag, as arguments: of two layers, the later one's.
    flags: BTreeMap<String, Option<String>>,
    overlay: Overlay,
}

/// Other names of flags and fields.
const ALIASES: [(&str, &str); 6] = [
    ("workers", "pipeline.seats"),
    ("queue", "pipeline.queue_capacity"),
    ("watch.directory", "watch"),
    ("serve.address", "serve"),
    ("state.directory", "state"),
    ("llm_cache.ttl", "llm_cache"),
];

impl Lower {
    fn take(&mut self, layer: Layer) -> Result<(), SettingsError> {
        let mut said = BTreeMap::new();
        for leaf in layer.leaves {
            let alias = ALIASES.iter().find(|(other, _)| *other == leaf.key);
            let key = alias.map_or(&*leaf.key, |(_, key)| *key).to_owned();
            if let Some(first) = said.insert(key.clone(), leaf.said.clone()) {
                return Err(SettingsError::Twice { key, first, second: leaf.said });
            }
            match key.contains('.') {
                true => self.overlay.add(Leaf { key, ..leaf })?,
                false => self.flag(&Leaf { key, ..leaf })?,
            }
        }
        Ok(())
    }

    /// Whether it may be said at all, is seen here, where one knows who says it.
    fn flag(&mut self, leaf: &Leaf) -> Result<(), SettingsError> {
        let name = leaf.key.replace('_', "-");
        let command = Options::command();
        let is_it = |arg: &&clap::Arg| arg.get_long() == Some(name.as_str()) && name != "config";
        let Some(flag) = command.get_arguments().find(is_it) else {
            return Err(leaf.unknown("see --help for all, with `_` for `-`"));
        };
        let value = leaf.text().ok_or_else(|| leaf.bad("must be one value"))?;
        let argument = match (flag.get_action(), &*value) {
            (ArgAction::SetTrue, "true") => Some(format!("--{name}")),
            (ArgAction::SetTrue, "false") => None,
            (ArgAction::SetTrue, _) => return Err(leaf.bad("must be true or false")),
            _ => Some(format!("--{name}={value}")),
        };
        if let Some(argument) = &argument
            && let Err(error) = Options::try_parse_from(["operator", argument.as_str()])
            && error.kind() != clap::error::ErrorKind::MissingRequiredArgument
        {
            return Err(leaf.bad(error::words(&error)));
        }
        self.flags.insert(name, argument);
        Ok(())
    }
}
