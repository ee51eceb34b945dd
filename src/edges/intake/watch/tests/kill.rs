//! A process that is killed at every step of a file's life.
//!
//! The test runs itself as a child, which says when a file has come to the step and then goes no
//! further there; it is killed (`SIGKILL`) at once. The next life runs to the end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::steps::Steps;
use super::*;
use crate::pipeline::{FileCheckpoints, FileCheckpointsConfig};

/// Tells a child where it lives.
const DIRECTORY: &str = "HEADWORKS_WATCH_DIRECTORY";
/// At which step it stops, and how many files may pass it before.
const STOP: &str = "HEADWORKS_WATCH_STOP";

const FILES: u32 = 6;

/// The steps of a file's life on the disk, and its phases.
const STOPS: [&str; 10] =
    ["Claimed", "Read", "Submits", "first", "last", "Ended", "Writes", "Part", "Status", "Moved"];

/// Where a life is killed, and how many files may pass there before.
type Stop = (&'static str, u32);

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Where this life goes no further.
struct Halt {
    at: String,
    passes: u32,
    passed: AtomicU32,
}

impl Halt {
    fn of_this_life() -> Option<Arc<Self>> {
        let stop = std::env::var(STOP).ok()?;
        let (at, passes) = stop.split_once(' ').unwrap();
        let (at, passes) = (at.to_owned(), passes.parse().unwrap());
        Some(Arc::new(Self { at, passes, passed: AtomicU32::new(0) }))
    }

    fn at(&self, what: &str) {
        if what == self.at && self.passed.fetch_add(1, Ordering::SeqCst) >= self.passes {
            say("@there");
            loop {
                std::thread::park();
            }
        }
    }
}

/// One life: to the end, or until it is killed. A test only so that the binary has a way in.
#[test]
fn a_life() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    // The test harness has begun a line.
    say("");
    let directory = std::path::PathBuf::from(directory);
    let mut steps = Steps::default();
    let halt = Halt::of_this_life();
    if let Some(halt) = halt.clone() {
        steps.hook = Some(Arc::new(move |at| {
            halt.at(&format!("{at:?}"));
            Ok(())
        }));
    }
    let effect = |phase: &'static str| {
        let halt = halt.clone();
        phase_fn(move |input: &String, cx: &PhaseContext| {
            say(&format!("@effect {phase} {}", cx.key()));
            if let Some(halt) = &halt {
                halt.at(phase);
            }
            let output = input.clone();
            async move { Ok(output) }
        })
    };
    let pages = FileCheckpointsConfig::default().with_directory(directory.join("pages"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
            .checkpoints(FileCheckpoints::new(pages).unwrap())
            .durable_phase("first", 1, PhaseConfig::remote(), effect("first"))
            .durable_phase("last", 1, PhaseConfig::remote(), effect("last"))
            .build()
            .unwrap();
        let restored = pipeline.restore().await.unwrap();
        let config = WatchConfig::default().with_directory(directory.join("intents"));
        let watcher = DirectoryWatcher::new(config).unwrap().with_steps(steps);
        let watching = watcher.start_resumed(pipeline.clone(), decode(), restored.resumed).unwrap();
        watching.drained().await;
        watching.shutdown(ms(10_000)).await;
        pipeline.shutdown(ms(10_000)).await;
    });
}

fn spawn(directory: &Path, stop: Option<Stop>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let test = format!("{}::a_life", module_path!().split_once("::").unwrap().1);
    child.args([&test, "--exact", "--nocapture", "--test-threads=1"]).env(DIRECTORY, directory);
    if let Some((at, passes)) = stop {
        child.env(STOP, format!("{at} {passes}"));
    }
    child.stdout(Stdio::piped()).spawn().unwrap()
}

/// What a child did; killed when it has come to its step, which it must, may or can't.
fn effects(mut child: Child, is_killed: Option<bool>, seen: &mut BTreeMap<String, u32>) {
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "@there" {
            child.kill().unwrap();
        } else if let Some(effect) = line.strip_prefix("@effect ") {
            *seen.entry(effect.to_owned()).or_default() += 1;
        }
    }
    let status = child.wait().unwrap();
    let was_killed = status.signal() == Some(9);
    assert!(was_killed || status.success(), "{status}");
    assert!(is_killed.is_none_or(|is_killed| is_killed == was_killed), "{status}");
}

/// Lives that are killed, and one that is not.
fn lives(stops: &[Stop]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    fs::create_dir(&path).unwrap();
    for n in 0..FILES {
        let say = if n == 0 { "\", \"unknown\": \"" } else { "" };
        fs::write(path.join(format!("{n}.json")), document(&format!("k/{n}"), say)).unwrap();
    }
    let mut seen = BTreeMap::new();
    for (life, stop) in stops.iter().enumerate() {
        // What a later one comes to depends on how far the first one came.
        let must = if life == 0 { Some(true) } else { None };
        effects(spawn(directory.path(), Some(*stop)), must, &mut seen);
    }
    // What had its status by then has ended, and does not run again.
    let over: Vec<String> = statuses(&path);
    let before = seen.clone();
    effects(spawn(directory.path(), None), Some(false), &mut seen);

    let what = format!("{stops:?}");
    let processed: Vec<_> = (1..FILES).map(|n| format!("{n}.json")).collect();
    assert_eq!(names_in(&path, "processed"), processed, "{what}");
    assert_eq!(names_in(&path, "failed"), ["0.json"], "{what}");
    assert_eq!((count(&path), count(&path.join("processing"))), (0, 0), "{what}");
    for n in 1..FILES {
        for phase in ["first", "last"] {
            let effect = format!("{phase} k/{n}");
            let times = seen.get(&effect).copied().unwrap_or(0);
            assert!(
                (1..=1 + stops.len() as u32).contains(&times),
                "{what}: {effect} {times} times"
            );
            if over.contains(&format!("{n}.json")) {
                assert_eq!(seen.get(&effect), before.get(&effect), "{what}: {effect}");
            }
        }
    }
}

#[test]
fn whenever_it_is_killed_every_content_ends_once() {
    for stop in STOPS {
        for passes in [0, 3] {
            lives(&[(stop, passes)]);
        }
    }
}

#[test]
fn a_life_that_is_killed_while_it_mends_the_last_one_loses_nothing_either() {
    for stops in [
        [("Status", 0), ("Recovers", 0)],
        [("Status", 3), ("Recovers", 0)],
        [("Claimed", 0), ("Read", 2)],
        [("first", 0), ("last", 2)],
        [("last", 2), ("Ended", 1)],
        [("Part", 1), ("Part", 1)],
        [("Moved", 1), ("Submits", 1)],
    ] {
        lives(&stops);
    }
}

/// Own names of files that have a status.
fn statuses(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["processed", "failed"] {
        for entry in fs::read_dir(path.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".status.json") && !name.starts_with('.') {
                let status: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                names.push(status["file"].as_str().unwrap().to_owned());
            }
        }
    }
    names
}
