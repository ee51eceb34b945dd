//! A watched directory, and everything that was run of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headworks::intake::{
    DirectoryWatcher, JsonDecode, JsonDecodeConfig, Origin, WatchConfig, Watching,
};
use headworks::{Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, phase_fn};
use serde_json::Value;

/// A document: whose it is, and a text that says whether it is whole.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    key: String,
    text: String,
}

pub(crate) fn document(key: &str, text: &str) -> String {
    format!("{{\"key\": \"{key}\", \"text\": \"{text}\"}}\n")
}

pub(crate) struct Harness {
    pub(crate) watching: Watching,
    pub(crate) pipeline: IntentPipeline<String, ()>,
    pub(crate) path: PathBuf,
    /// What was run, by key: each text.
    pub(crate) run: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Harness {
    pub(crate) fn start(path: &Path) -> Self {
        let run = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
        let seen = Arc::clone(&run);
        let phase = phase_fn(move |text: &String, cx: &PhaseContext| {
            let key = cx.key().to_string();
            seen.lock().unwrap().entry(key).or_default().push(text.clone());
            async { Ok(()) }
        });
        let config = PipelineConfig::default();
        let pipeline = IntentPipeline::builder::<String>(config)
            .phase("run", PhaseConfig::remote(), phase)
            .build()
            .unwrap();
        let decode = JsonDecode::new(JsonDecodeConfig::default(), |ask: Ask, _: &Origin| {
            Ok(Intent::new(ask.key, ask.text))
        });
        let config =
            WatchConfig::default().with_directory(path).with_doubt(Duration::from_millis(50));
        let watcher = DirectoryWatcher::new(config).unwrap();
        let watching = watcher.start(pipeline.clone(), decode.unwrap()).unwrap();
        Self { watching, pipeline, path: path.to_owned(), run }
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path.join(name), bytes).unwrap();
    }

    /// Until it is so; hand polled.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{what}: {:?}",
                self.watching.snapshot()
            );
            tokio::task::yield_now().await;
        }
    }

    /// A file that comes later than everything else, and has been run.
    pub(crate) async fn sentinel(&self, n: usize) {
        let key = format!("sentinel/{n}");
        self.write(&format!("sentinel-{n}.json"), document(&key, ""));
        self.until("a sentinel", |it| it.run.lock().unwrap().contains_key(&key)).await;
    }

    /// The end; what the ledger says agrees with what was run.
    pub(crate) async fn end(self) -> Ended {
        self.watching.drained().await;
        let snapshot = self.watching.snapshot();
        let report = self.watching.shutdown(Duration::from_secs(10)).await;
        assert_eq!(report.left, 0);
        let drained = self.pipeline.shutdown(Duration::from_secs(10)).await;
        assert!(drained.ledger.is_exact() && drained.ledger.live == 0, "{}", drained.ledger);
        assert_eq!(drained.ledger.accepted, snapshot.admitted);
        let run = std::mem::take(&mut *self.run.lock().unwrap());
        let files = ["processed", "failed"].map(|folder| statuses(&self.path, folder));
        let so_many = files.iter().map(|files| files.values().map(Vec::len).sum::<usize>());
        assert_eq!(so_many.sum::<usize>() as u64, report.processed + report.failed);
        let [processed, failed] = files;
        Ended { processed, failed, run }
    }
}

pub(crate) struct Ended {
    /// By own name, the statuses of every file that had it.
    pub(crate) processed: BTreeMap<String, Vec<Value>>,
    pub(crate) failed: BTreeMap<String, Vec<Value>>,
    pub(crate) run: BTreeMap<String, Vec<String>>,
}

/// Every status of a folder; each has its file, and each file its status.
fn statuses(path: &Path, folder: &str) -> BTreeMap<String, Vec<Value>> {
    let mut found = BTreeMap::<String, Vec<Value>>::new();
    for entry in fs::read_dir(path.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match name.strip_suffix(".status.json") {
            Some(file) => {
                assert!(fs::symlink_metadata(path.with_file_name(file)).is_ok(), "{name}");
                let status: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                found.entry(status["file"].as_str().unwrap().to_owned()).or_default().push(status);
            }
            None => assert!(path.with_file_name(format!("{name}.status.json")).exists(), "{name}"),
        }
    }
    found
}
