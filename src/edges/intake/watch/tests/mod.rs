mod core;
mod faults;
mod kill;
mod line;
mod lives;
mod model;
mod names;
mod odd;
mod waiting;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::core::Rules;
use super::waiting::{Closes, Patience};
use super::*;
use crate::edges::intake::{JsonDecode, JsonDecodeConfig, Origin, Rejected};
use crate::{
    Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, Priority, phase_fn,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name(text: &str) -> Arc<OsStr> {
    Arc::from(OsStr::new(text))
}

fn rules() -> Rules {
    let patience = Patience {
        closes: Closes::Told,
        debounce: Duration::ZERO,
        settle_small: ms(10),
        settle_large: ms(50),
        large_bytes: 1000,
        unclosed_after: ms(30_000),
    };
    Rules {
        patience,
        doubt: ms(1000),
        dedup_window: ms(1000),
        rescan_every: None,
        files_in_flight: 4,
        workers: 2,
        max_waiting: 100,
    }
}

/// What the files of these tests say.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    key: String,
    #[serde(default)]
    say: String,
    #[serde(default)]
    generation: Option<u64>,
    #[serde(default)]
    priority: Priority,
}

fn decode() -> JsonDecode<String> {
    let intent = |ask: Ask, _: &Origin| -> Result<Intent<String>, Rejected> {
        let intent = Intent::new(ask.key, ask.say).priority(ask.priority);
        Ok(Intent { generation: ask.generation, ..intent })
    };
    JsonDecode::new(JsonDecodeConfig::default(), intent).unwrap()
}

/// A pipeline of one phase, which fails what says so.
fn pipeline() -> IntentPipeline<String, String> {
    let phase = phase_fn(|say: &String, _: &PhaseContext| {
        let say = say.clone();
        async move {
            match say.as_str() {
                "fail" => Err(crate::pipeline::PhaseError::permanent("it was to fail")),
                "hang" => std::future::pending().await,
                _ => Ok(say),
            }
        }
    });
    IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("say", PhaseConfig::remote(), phase)
        .build()
        .unwrap()
}

fn config(directory: &TempDir) -> WatchConfig {
    WatchConfig::default().with_directory(directory.path().join("intents")).with_doubt(ms(20))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn document(key: &str, say: &str) -> String {
    format!(r#"{{"key": "{key}", "say": "{say}"}}"#)
}

/// Every file in a folder that ended, with its status: its own name, its content, what is said of it.
fn ended(directory: &Path, folder: &str) -> Vec<(String, Vec<u8>, Value)> {
    let mut ended = Vec::new();
    for entry in fs::read_dir(directory.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.ends_with(".part"), "{name}");
        if let Some(of) = name.strip_suffix(".status.json") {
            let file = path.with_file_name(of);
            assert!(fs::symlink_metadata(&file).is_ok(), "{name} without its file");
            let status: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let content = fs::read(&file).unwrap_or_default();
            ended.push((status["file"].as_str().unwrap().to_owned(), content, status));
        } else {
            let status = path.with_file_name(format!("{name}.status.json"));
            assert!(status.exists(), "{name} without its status");
        }
    }
    ended.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    ended
}

fn names_in(directory: &Path, folder: &str) -> Vec<String> {
    ended(directory, folder).into_iter().map(|(name, ..)| name).collect()
}

/// How many files a folder holds, with or without names.
fn count(folder: &Path) -> usize {
    fs::read_dir(folder)
        .unwrap()
        .filter(|it| it.as_ref().unwrap().file_type().unwrap().is_file())
        .count()
}
