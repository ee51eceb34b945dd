//! What seldom happens: code of the operator's that panics, directories that move, what other versions
//! and other file systems leave.

use std::fmt;
use std::os::fd::OwnedFd;

use super::super::folder::rename_after_a_look;
use super::*;
use crate::pipeline::PhaseError;

/// Without the hook, which may look for a backtrace for seconds.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("as it was told"))
}

/// An error that panics when it is shown, and a payload that panics when it is dropped.
#[derive(Debug)]
struct Bomb(String);

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_quietly()
    }
}

impl std::error::Error for Bomb {}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == "drop" && !std::thread::panicking() {
            panic_quietly();
        }
    }
}

#[test]
fn an_error_that_panics_when_it_is_shown_and_a_payload_that_does_when_dropped_end_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    runtime().block_on(async {
        let phase = phase_fn(|bomb: &Bomb, _: &PhaseContext| {
            let fails = bomb.0 == "fail";
            async move {
                match fails {
                    true => Err(PhaseError::permanent(Bomb(String::new()))),
                    false => Ok(()),
                }
            }
        });
        let pipeline = IntentPipeline::builder::<Bomb>(PipelineConfig::default())
            .phase("say", PhaseConfig::remote(), phase)
            .build()
            .unwrap();
        let decode = |bytes: &[u8], _: &Origin| -> Vec<Result<Intent<Bomb>, Rejected>> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let (key, say) = text.split_once(' ').unwrap();
            vec![Ok(Intent::new(key.to_owned(), Bomb(say.to_owned())))]
        };
        let config = config(&directory).with_dedup_window(ms(60_000));
        let watching = DirectoryWatcher::new(config).unwrap().start(pipeline, decode).unwrap();
        fs::write(path.join("shown.json"), "a fail").unwrap();
        fs::write(path.join("dropped.json"), "b drop").unwrap();
        watching.drained().await;
        // The same again is dropped unread by the pipeline.
        fs::write(path.join("again.json"), "b drop").unwrap();
        watching.drained().await;
        fs::write(path.join("last.json"), "c ").unwrap();
        watching.drained().await;
        let snapshot = watching.snapshot();
        assert_eq!((snapshot.processed, snapshot.failed, snapshot.duplicates), (3, 1, 1));
        assert_eq!(snapshot.trouble, None);
    });
    let failed = &ended(&path, "failed")[0].2["documents"][0];
    assert_eq!(failed["reason"], "an error that panics when it is shown");
}

/// A runtime that ends, say; whoever looks sees it.
#[test]
fn a_watcher_whose_task_is_gone_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let watching = runtime.block_on(async {
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        let watching = watcher.start(pipeline(), decode()).unwrap();
        watching.drained().await;
        watching
    });
    assert_eq!(watching.snapshot().trouble, None);
    drop(runtime);
    assert!(watching.snapshot().trouble.unwrap().starts_with("it has stopped"));
    let told = super::runtime().block_on(async {
        watching.drained().await;
        watching.shutdown(Duration::ZERO).await
    });
    assert_eq!(told.left, 0);
}

#[test]
fn what_is_told_to_the_pipeline_is_told_in_turns_with_others() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let decode = |bytes: &[u8], _: &Origin| -> Vec<Result<Intent<String>, Rejected>> {
            let lines = String::from_utf8_lossy(bytes).into_owned();
            lines.lines().map(|line| Ok(Intent::new(line.to_owned(), String::new()))).collect()
        };
        let config = config(&directory);
        let path = config.directory.clone();
        let watching = DirectoryWatcher::new(config).unwrap().start(pipeline(), decode).unwrap();
        let lines: Vec<_> = (0..1000).map(|n| format!("k/{n}")).collect();
        fs::write(path.join("many.json"), lines.join("\n")).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        while !seen.contains(&1000) {
            tokio::task::yield_now().await;
            seen.insert(watching.snapshot().admitted);
        }
        assert!(seen.len() > 2, "{seen:?}");
    });
}

/// Named from where the process is, as by default.
#[test]
fn a_directory_that_is_moved_away_is_missed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let up =
        std::env::current_dir().unwrap().components().skip(1).map(|_| "../").collect::<String>();
    let relative = format!("{up}{}", &directory.path().join("intents").to_str().unwrap()[1..]);
    runtime().block_on(async {
        let config = config(&directory).with_directory(relative).with_rescan_every(None);
        let watching = DirectoryWatcher::new(config).unwrap().start(pipeline(), decode()).unwrap();
        watching.drained().await;
        let (own, aside) = (directory.path().join("intents"), directory.path().join("aside"));
        fs::rename(&own, &aside).unwrap();
        let shared = watching.shared();
        let missed = shared.comes_to(|view| view.has_trouble());
        tokio::time::timeout(ms(20_000), missed).await.expect("never missed");
        let trouble = watching.snapshot().trouble.unwrap();
        assert_eq!(trouble, "the directory is not in its place any more");
        fs::rename(&aside, &own).unwrap();
        fs::write(own.join("a.json"), document("a", "")).unwrap();
        watching.drained().await;
        assert_eq!(watching.snapshot().trouble, None);
        assert_eq!(names_in(&own, "processed"), ["a.json"]);
    });
}

/// What a life leaves that was killed between a status and the move of its file.
fn half_ended(path: &Path, name: &str, status: &[u8]) {
    for folder in ["processing", "processed", "failed"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    fs::write(path.join("processing").join(name), document("a", "fail")).unwrap();
    fs::write(path.join(format!("processed/{name}.status.json")), status).unwrap();
}

const NAME: &str = "019a8f3c2b1-0001f7c4a9b3f-scale-up.json";

#[test]
fn a_status_of_a_later_version_is_an_end_and_one_that_is_cut_is_none() {
    let later = br#"{"version": 7, "file": "scale-up.json", "whatever": {"comes": "later"}}"#;
    for (status, is_run) in
        [(&later[..], false), (&later[..20], true), (&[0; 64], true), (b"", true)]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("intents");
        half_ended(&path, NAME, status);
        runtime().block_on(async {
            let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
            let watching = watcher.start(pipeline(), decode()).unwrap();
            watching.drained().await;
            let snapshot = watching.snapshot();
            let expected = if is_run { (1, 0, 1) } else { (0, 1, 0) };
            assert_eq!((snapshot.admitted, snapshot.moved_late, snapshot.failed), expected);
        });
        let place = if is_run { "failed" } else { "processed" };
        assert!(path.join(place).join(NAME).exists());
        assert_eq!(count(&path.join("processing")), 0);
    }
}

#[test]
fn a_status_that_was_being_written_is_not_left_where_the_file_does_not_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    half_ended(&path, NAME, b"");
    let part = path.join(format!("processed/.{NAME}.status.json.part"));
    fs::write(&part, "{").unwrap();
    runtime().block_on(async {
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        watcher.start(pipeline(), decode()).unwrap().drained().await;
    });
    assert_eq!(names_in(&path, "failed"), ["scale-up.json"]);
    assert_eq!(fs::read_dir(path.join("processed")).unwrap().count(), 0);
}

/// For file systems that can't refuse to replace, a network's or a memory card's.
#[test]
fn a_rename_after_a_look_moves_in_one_step_and_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let open = || OwnedFd::from(fs::File::open(directory.path()).unwrap());
    let rename = |old: &str, new: &str| {
        rename_after_a_look(open(), OsStr::new(old), open(), OsStr::new(new))
    };
    fs::write(directory.path().join("a"), "a").unwrap();
    rename("a", "b").unwrap();
    fs::write(directory.path().join("a"), "other").unwrap();
    assert_eq!(rename("a", "b").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(rename("c", "d").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(fs::read(directory.path().join("b")).unwrap(), b"a");
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    assert_eq!(rename("a", "link").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
}
