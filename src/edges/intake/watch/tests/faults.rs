//! A disk that fails: nothing is lost, and it is said.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::steps::{Step, Steps};
use super::*;

/// While this is so, the disk is full for whatever comes to this step.
fn full_at(step: Step, is_full: &Arc<AtomicBool>) -> Steps {
    let is_full = Arc::clone(is_full);
    let hook = move |at: Step| {
        if at == step && is_full.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    };
    Steps { hook: Some(Arc::new(hook)) }
}

#[test]
fn whatever_step_fails_every_file_ends_once() {
    for step in [Step::Ended, Step::Writes, Step::Part, Step::Status, Step::Moved, Step::Read] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("intents");
        runtime().block_on(async {
            let is_full = Arc::new(AtomicBool::new(true));
            let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
            let watching =
                watcher.with_steps(full_at(step, &is_full)).start(pipeline(), decode()).unwrap();
            for n in 0..3 {
                fs::write(path.join(format!("{n}.json")), document(&format!("{n}"), "")).unwrap();
            }
            if step == Step::Read {
                watching.shared().comes_to(|view| view.is_in_flight(3)).await;
            } else {
                watching.shared().comes_to(|view| view.has_trouble()).await;
                let trouble = watching.snapshot().trouble.unwrap();
                assert!(trouble.starts_with("putting a file away: "), "{trouble}");
            }
            is_full.store(false, Ordering::SeqCst);
            watching.drained().await;
            assert_eq!(watching.snapshot().trouble, None);
        });
        assert_eq!(count(&path.join("processing")), 0, "{step:?}");
        assert_eq!(names_in(&path, "processed"), ["0.json", "1.json", "2.json"], "{step:?}");
    }
}

#[test]
fn what_cannot_be_read_is_left_when_it_closes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intents");
    let steps = full_at(Step::Read, &Arc::new(AtomicBool::new(true)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap().with_steps(steps);
        let watching = watcher.start(pipeline(), decode()).unwrap();
        fs::write(path.join("a.json"), document("a", "")).unwrap();
        watching.shared().comes_to(|view| view.is_in_flight(1)).await;
        // Closed meanwhile, it is left, and the next life reads it.
        assert_eq!(watching.shutdown(Duration::ZERO).await.left, 1);
        let watcher = DirectoryWatcher::new(config(&directory)).unwrap();
        watcher.start(pipeline(), decode()).unwrap().drained().await;
    });
    assert_eq!(names_in(&path, "processed"), ["a.json"]);
}
