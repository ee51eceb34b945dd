//! The process that is killed.

use std::io::Write;

use headworks::pipeline::{FileCheckpoints, FileCheckpointsConfig, Ticket};
use headworks::{
    Intent, IntentPipeline, Phase, PhaseConfig, PhaseContext, PhaseError, PipelineConfig, Step,
};

use super::{DIRECTORY, LAST, LIFE};

const SUBMITTERS: usize = 16;

type Pipeline = IntentPipeline<String, String>;

/// Says it, all of it or nothing, before it goes on.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// A phase whose effect is that it says so.
struct Effect(&'static str);

impl Phase<String> for Effect {
    type Out = String;

    async fn run(&self, input: &String, cx: &PhaseContext) -> Result<Step<String>, PhaseError> {
        say(&format!("@effect {} {}", cx.key(), self.0));
        tokio::task::yield_now().await;
        Ok(Step::Done(format!("{input}-{}", self.0)))
    }
}

/// One life: to the end, or until it is killed. A test only so that the binary has a way in.
#[test]
fn a_life() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    // The test harness has begun a line.
    say("");
    let config = FileCheckpointsConfig::default().with_directory(directory);
    let store = FileCheckpoints::new(config).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pipeline: Pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
            .checkpoints(store)
            .durable_phase("first", 1, PhaseConfig::remote(), Effect("first"))
            .phase("between", PhaseConfig::remote(), Effect("between"))
            .durable_phase("second", 1, PhaseConfig::remote(), Effect("second"))
            .phase("last", PhaseConfig::remote(), Effect("last"))
            .build()
            .unwrap();
        let restored = pipeline.restore().await.unwrap();
        for aside in &restored.set_aside {
            say(&format!("@trouble {aside:?}"));
        }
        let mut tasks = Vec::new();
        for resumed in restored.resumed {
            say(&format!("@resumed {}", resumed.key));
            tasks.push(tokio::spawn(finish(resumed.key.to_string(), resumed.ticket)));
        }
        if std::env::var_os(LAST).is_none() {
            let life = std::env::var(LIFE).unwrap();
            for n in 0..SUBMITTERS {
                tasks.push(tokio::spawn(submit(pipeline.clone(), format!("{life}/{n}"))));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        pipeline.shutdown(std::time::Duration::from_secs(10)).await;
    });
}

/// One intent after the other, for ever.
async fn submit(pipeline: Pipeline, name: String) {
    for n in 0.. {
        let key = format!("{name}/{n}");
        let ticket = pipeline.submit(Intent::new(key.as_str(), key.clone())).await.unwrap();
        say(&format!("@accepted {key}"));
        finish(key, ticket).await;
    }
}

async fn finish(key: String, ticket: Ticket<String, String>) {
    match ticket.await {
        Ok(done) if *done.output == format!("{key}-first-between-second-last") => {
            say(&format!("@done {key}"));
        }
        other => say(&format!("@trouble {key} {other:?}")),
    }
}
