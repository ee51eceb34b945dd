//! A complete small operator around an embedded `IntentPipeline`.
//!
//! It reads intents from a folder, has an LLM turn each into an answer, plans resources, renders
//! manifests, commits them to git and reads them back.

mod answer;
mod content;
mod dates;
mod document;
mod formats;
mod generate;
mod intent;
mod manifests;
mod names;
mod plan;
mod problem;
mod prompt;
#[cfg(test)]
mod samples;
mod value;
mod yaml;

fn main() {}
