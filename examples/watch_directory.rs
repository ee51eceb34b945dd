//! Files of a directory as intents: what is done with each lies beside it.
//!
//! `cargo run --example watch_directory --features watch`

use std::fs;
use std::time::Duration;

use headworks::intake::{
    DirectoryWatcher, JsonDecode, JsonDecodeConfig, Origin, Rejected, WatchConfig,
};
use headworks::{Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, phase_fn};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    target: String,
    replicas: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("headworks-{}", std::process::id()));
    let apply = phase_fn(|replicas: &u32, cx: &PhaseContext| {
        println!("{} gets {replicas}", cx.key());
        async { Ok(()) }
    });
    let pipeline = IntentPipeline::builder::<u32>(PipelineConfig::default())
        .phase("apply", PhaseConfig::remote(), apply)
        .build()?;
    let decode = JsonDecode::new(JsonDecodeConfig::default(), |scale: Scale, _: &Origin| {
        if scale.replicas > 100 {
            return Err(Rejected::invalid("/replicas", "at most 100"));
        }
        Ok(Intent::new(format!("default/{}", scale.target), scale.replicas))
    })?;
    let config = WatchConfig::default().with_directory(&directory);
    let watching = DirectoryWatcher::new(config)?.start(pipeline.clone(), decode)?;

    fs::write(directory.join("up.json"), r#"{"target": "web", "replicas": 5}"#)?;
    fs::write(directory.join("much.json"), r#"{"target": "web", "replicas": 500}"#)?;
    fs::write(directory.join("cut.json"), r#"{"target": "web", "rep"#)?;

    // A service goes on until it is told to stop; this one, until all has ended.
    watching.drained().await;
    let report = watching.shutdown(Duration::from_secs(5)).await;
    pipeline.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.processed, report.failed), (1, 2));
    for entry in fs::read_dir(directory.join("failed"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".status.json") {
            println!("{}", fs::read_to_string(path)?);
        }
    }
    Ok(fs::remove_dir_all(directory)?)
}
