//! Files that live and end in a real directory.

use std::os::unix::fs::symlink;

use super::*;
use crate::pipeline::{FileCheckpoints, FileCheckpointsConfig};

/// Watches while `act` runs, and until all has ended.
fn watched(directory: &TempDir, act: impl FnOnce(&Path)) -> WatchReport {
    runtime().block_on(async {
        let config = config(directory);
        let path = config.directory.clone();
        let watching = DirectoryWatcher::new(config).unwrap().start(pipeline(), decode()).unwrap();
        act(&path);
        watching.drained().await;
        let report = watching.shutdown(ms(5000)).await;
        assert_eq!(count(&path), 0);
        assert_eq!(count(&path.join("processing")), 0);
        report
    })
}

#[test]
fn files_end_beside_a_status_that_says_how() {
    let directory = tempfile::tempdir().unwrap();
    let report = watched(&directory, |path| {
        fs::write(path.join("good.json"), document("a/b", "hello")).unwrap();
        fs::write(path.join("bad.json"), document("a/c", "fail")).unwrap();
        fs::write(path.join("broken.json"), r#"{"key": "a/d", "key": "a/e"}"#).unwrap();
        fs::write(path.join("new.tmp"), document("a/f", "")).unwrap();
        fs::rename(path.join("new.tmp"), path.join("renamed.json")).unwrap();
    });
    assert_eq!((report.processed, report.failed, report.left), (2, 2, 0));
    let path = directory.path().join("intents");
    assert_eq!(names_in(&path, "processed"), ["good.json", "renamed.json"]);
    let failed = ended(&path, "failed");
    let told = &failed[0].2["documents"][0];
    assert_eq!(
        (&told["end"], &told["phase"], &told["reason"]),
        (&"failed".into(), &"say".into(), &"the phase can't succeed: it was to fail".into())
    );
    let told = &failed[1].2["documents"][0];
    assert_eq!(
        (&told["end"], &told["pointer"], &told["reason"]),
        (&"rejected".into(), &"/key".into(), &"each name of an object once".into())
    );
    let good = &ended(&path, "processed")[0];
    assert_eq!(good.1, document("a/b", "hello").into_bytes());
    assert_eq!(
        (&good.2["state"], &good.2["documents"][0]["key"]),
        (&"processed".into(), &"a/b".into())
    );
}

#[test]
fn what_is_no_regular_file_is_moved_and_never_opened() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("secret.json");
    fs::write(&outside, document("a/secret", "told")).unwrap();
    watched(&directory, |path| {
        symlink(&outside, path.join("link.json")).unwrap();
        symlink("/dev/zero", path.join("device.json")).unwrap();
        symlink("nowhere", path.join("dangling.json")).unwrap();
        let fifo = path.join("fifo.json");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket.json")).unwrap();
        fs::create_dir(path.join("folder.json")).unwrap();
    });
    let path = directory.path().join("intents");
    let reasons: Vec<_> = ended_reasons(&path);
    let expected = [
        ("dangling.json", "it is a symbolic link"),
        ("device.json", "it is a symbolic link"),
        ("fifo.json", "it is a FIFO"),
        ("link.json", "it is a symbolic link"),
        ("socket.json", "it is a socket"),
    ];
    assert_eq!(reasons, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
    assert_eq!(fs::read_to_string(&outside).unwrap(), document("a/secret", "told"));
    assert!(path.join("folder.json").is_dir());
}

/// Names and reasons of what failed, without a look at the files themselves.
fn ended_reasons(path: &Path) -> Vec<(String, String)> {
    let mut reasons = Vec::new();
    for entry in fs::read_dir(path.join("failed")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(".status.json") {
            let status: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
            reasons.push((text("file"), text("reason")));
        }
    }
    reasons.sort();
    reasons
}

#[test]
fn bounds_hold_and_a_decoder_that_panics_fails_its_file_only() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let config = config(&directory).with_max_file_bytes(100).with_max_documents(2);
        let path = config.directory.clone();
        let decode = |bytes: &[u8], _: &Origin| -> Vec<Result<Intent<String>, Rejected>> {
            if bytes == b"panic" {
                // Without the hook, which may look for a backtrace for seconds.
                std::panic::resume_unwind(Box::new("as it was told"));
            }
            let lines = bytes.split(|byte| *byte == b'\n');
            lines
                .map(|line| Ok(Intent::new(String::from_utf8_lossy(line), String::new())))
                .collect()
        };
        let watching = DirectoryWatcher::new(config).unwrap().start(pipeline(), decode).unwrap();
        fs::write(path.join("large.json"), vec![b'x'; 101]).unwrap();
        fs::write(path.join("fits.json"), vec![b'x'; 100]).unwrap();
        fs::write(path.join("many.json"), "a\nb\nc").unwrap();
        fs::write(path.join("panic.json"), "panic").unwrap();
        fs::write(path.join("two.json"), "a\nb").unwrap();
        watching.drained().await;
        assert_eq!(names_in(&path, "processed"), ["fits.json", "two.json"]);
        let why = ["large.json", "many.json", "panic.json"].zip([
            "it has 101 bytes, and may have 100",
            "it has 3 documents, and may have 2",
            "the decoder panicked",
        ]);
        assert_eq!(ended_reasons(&path), why.map(|(name, why)| (name.to_owned(), why.to_owned())));
    });
}

trait Zip<const N: usize> {
    fn zip(self, other: [&'static str; N]) -> [(&'static str, &'static str); N];
}

impl<const N: usize> Zip<N> for [&'static str; N] {
    fn zip(self, other: [&'static str; N]) -> [(&'static str, &'static str); N] {
        std::array::from_fn(|at| (self[at], other[at]))
    }
}

#[test]
fn a_swapped_folder_redirects_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    runtime().block_on(async {
        let config = config(&directory);
        let path = config.directory.clone();
        let watching = DirectoryWatcher::new(config).unwrap().start(pipeline(), decode()).unwrap();
        watching.drained().await;
        for folder in ["processed", "processing"] {
            let (own, aside) = (path.join(folder), path.join("aside"));
            fs::rename(&own, &aside).unwrap();
            symlink(&outside, &own).unwrap();
            fs::write(path.join(format!("{folder}.json")), document(folder, "")).unwrap();
            // It says so, and goes on when the folder is back.
            watching.shared().comes_to(|view| view.has_trouble()).await;
            let trouble = watching.snapshot().trouble.unwrap();
            assert!(trouble.ends_with("is not in its place any more"), "{trouble}");
            fs::remove_file(&own).unwrap();
            fs::rename(&aside, &own).unwrap();
            watching.drained().await;
        }
        assert_eq!(names_in(&path, "processed"), ["processed.json", "processing.json"]);
    });
    assert_eq!(count(&outside), 0);
}

#[test]
fn nothing_is_watched_through_a_link_or_twice() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        let first = watcher.start(pipeline(), decode()).unwrap();
        let second = watcher.start(pipeline(), decode()).unwrap_err();
        assert!(matches!(second, WatchError::InUse { .. }), "{second}");
        first.shutdown(ms(1000)).await;
        watcher.start(pipeline(), decode()).unwrap().shutdown(ms(1000)).await;
        let processed = directory.path().join("intents/processed");
        fs::remove_dir(&processed).unwrap();
        symlink(directory.path(), &processed).unwrap();
        let error = watcher.start(pipeline(), decode()).unwrap_err();
        assert!(matches!(error, WatchError::Folder { .. }), "{error}");
    });
    let pipeline = runtime().block_on(async { pipeline() });
    let error = DirectoryWatcher::new(config(&directory)).unwrap().start(pipeline, decode());
    assert!(matches!(error, Err(WatchError::NoRuntime)));
}

#[test]
fn what_does_not_end_is_left_and_taken_by_the_next_life() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    runtime().block_on(async {
        let pipeline = pipeline();
        let watching = DirectoryWatcher::new(config(&directory))
            .unwrap()
            .start(pipeline.clone(), decode())
            .unwrap();
        fs::write(path.join("hangs.json"), document("a", "hang")).unwrap();
        fs::write(path.join("ends.json"), document("b", "")).unwrap();
        watching.shared().comes_to(|view| view.is_running(1) && view.has_processed(1)).await;
        let report = watching.shutdown(Duration::ZERO).await;
        assert_eq!((report.processed, report.left), (1, 1));
        pipeline.shutdown(Duration::ZERO).await;
    });
    assert_eq!(count(&path.join("processing")), 1);
    let claimed = fs::read_dir(path.join("processing")).unwrap().next().unwrap().unwrap().path();
    fs::write(&claimed, document("a", "")).unwrap();
    let report = watched(&directory, |_| ());
    assert_eq!(report.processed, 1);
    assert_eq!(names_in(&path, "processed"), ["ends.json", "hangs.json"]);
}

#[test]
fn what_the_pipeline_restored_is_not_submitted_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    let pages = directory.path().join("pages");
    let build = |ends: bool| {
        let phase = phase_fn(move |_: &String, _: &PhaseContext| async move {
            if ends { Ok(String::new()) } else { std::future::pending().await }
        });
        let store = FileCheckpoints::new(FileCheckpointsConfig::default().with_directory(&pages));
        IntentPipeline::builder::<String>(PipelineConfig::default())
            .checkpoints(store.unwrap())
            .phase("say", PhaseConfig::remote(), phase)
            .build()
            .unwrap()
    };
    for ends in [false, true] {
        runtime().block_on(async {
            let pipeline = build(ends);
            let restored = pipeline.restore().await.unwrap();
            let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
            let watching =
                watcher.start_resumed(pipeline.clone(), decode(), restored.resumed).unwrap();
            if ends {
                watching.drained().await;
                assert_eq!(pipeline.snapshot().ledger.accepted, 1);
                assert_eq!(names_in(&path, "processed"), ["a.json"]);
            } else {
                fs::write(path.join("a.json"), document("a", "")).unwrap();
                watching.shared().comes_to(|view| view.is_running(1)).await;
                assert_eq!(watching.shutdown(Duration::ZERO).await.left, 1);
                pipeline.shutdown(ms(1000)).await;
                assert_eq!(count(&pages), 2, "its page, and the directory's lock");
            }
        });
    }
}

#[test]
fn what_is_refused_for_now_waits_by_class_and_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    runtime().block_on(async {
        let order = Arc::new(crate::ground::primitives::Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let phase = phase_fn(move |_: &String, cx: &PhaseContext| {
            seen.lock().push(cx.key().to_string());
            async { Ok(()) }
        });
        let config_of = PipelineConfig::default().with_seats(1);
        let pipeline = IntentPipeline::builder::<String>(config_of)
            .phase("say", PhaseConfig::remote(), phase)
            .build()
            .unwrap();
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        let watching = watcher.start(pipeline.clone(), decode()).unwrap();
        pipeline.pause();
        for class in ["low", "high", "normal", "urgent"] {
            let text = format!(r#"{{"key": "{class}", "priority": "{class}"}}"#);
            fs::write(path.join(format!("{class}.json")), text).unwrap();
        }
        watching.shared().comes_to(|view| view.is_waiting(4)).await;
        // Tried once each time that was said, not in a loop.
        let refusals = watching.snapshot().refusals;
        assert!((1..=20).contains(&refusals), "{refusals}");
        pipeline.resume();
        watching.drained().await;
        assert_eq!(*order.lock(), ["urgent", "high", "normal", "low"]);
        assert_eq!(watching.snapshot().processed, 4);
    });
}

#[test]
fn a_handle_that_is_dropped_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        let watching = watcher.start(pipeline(), decode()).unwrap();
        let shared = watching.shared();
        // Polled once and dropped, nothing changes.
        let mut drained = Box::pin(watching.drained());
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(drained.as_mut().poll(cx))).await;
        drop(drained);
        let mut shutdown = Box::pin(watching.shutdown(ms(1000)));
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(shutdown.as_mut().poll(cx))).await;
        drop(shutdown);
        drop(watching);
        shared.comes_to(|view| view.is_over).await;
        let path = directory.path().join("intents/a.json");
        fs::write(&path, document("a", "")).unwrap();
        tokio::task::yield_now().await;
        assert!(path.exists());
    });
}

#[test]
fn every_number_has_its_name() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        let watching = watcher.start(pipeline(), decode()).unwrap();
        fs::write(directory.path().join("intents/a.json"), document("a", "")).unwrap();
        watching.drained().await;
        let snapshot = watching.snapshot();
        assert_eq!((snapshot.processed, snapshot.admitted, snapshot.waiting), (1, 1, 0));
        assert_eq!(snapshot.admission_times.count(), 1);
        let names: std::collections::BTreeSet<_> = snapshot.metrics().map(|it| it.name).collect();
        assert_eq!(names.len(), 19);
        assert!(names.iter().all(|name| name.starts_with("intake_files_")));
    });
}

#[test]
fn impossible_configurations_are_named() {
    let config = WatchConfig::default;
    for (config, field) in [
        (config().with_directory(""), "watch.directory"),
        (config().with_extensions(["a/b"]), "watch.extensions"),
        (config().with_max_file_bytes(0), "watch.max_file_bytes"),
        (config().with_max_documents(0), "watch.max_documents"),
        (config().with_files_in_flight(0), "watch.files_in_flight"),
        (config().with_workers(65), "watch.workers"),
        (config().with_max_waiting(0), "watch.max_waiting"),
        (config().with_settle_small(Duration::ZERO), "watch.settle_small"),
        (config().with_rescan_every(Some(Duration::ZERO)), "watch.rescan_every"),
    ] {
        let error = DirectoryWatcher::new(config).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let text = r#"{"directory": "d", "durability": "power", "rescan_every": null}"#;
    let config: WatchConfig = serde_json::from_str(text).unwrap();
    assert_eq!((config.durability, config.rescan_every), (Durability::Power, None));
}
