//! Models of who tells the last ending, under every interleaving.

use std::sync::atomic::AtomicBool;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::telling::Telling;

/// Two workers end the last two runs of a pipeline while somebody closes it; each looks afterwards
/// whether all is over and told, as `settle` does.
#[test]
fn loom_pipeline_telling() {
    /// What the pipeline is here: how many live, under its lock, and whether it is closed.
    struct Pipeline {
        core: Mutex<(u32, bool)>,
        telling: Telling,
        told: AtomicU32,
        // Not what is modelled, so no point at which threads change.
        over: AtomicBool,
    }
    let settled = |all: &Pipeline| {
        let is_over = *all.core.lock().unwrap() == (0, true);
        if is_over && all.telling.is_done() {
            assert_eq!(all.told.load(Ordering::Relaxed), 2, "one is told after the last one");
            all.over.store(true, Ordering::Relaxed);
        }
    };
    loom::model(move || {
        let all = Arc::new(Pipeline {
            core: Mutex::new((2, false)),
            telling: Telling::new(),
            told: AtomicU32::new(0),
            over: AtomicBool::new(false),
        });
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let all = Arc::clone(&all);
                thread::spawn(move || {
                    let mut core = all.core.lock().unwrap();
                    core.0 -= 1;
                    let is_over = *core == (0, true);
                    all.telling.begins();
                    drop(core);
                    all.told.fetch_add(1, Ordering::Relaxed);
                    if all.telling.ends() || is_over {
                        settled(&all);
                    }
                })
            })
            .collect();
        let mut core = all.core.lock().unwrap();
        core.1 = true;
        all.telling.closes();
        let is_over = core.0 == 0;
        drop(core);
        if is_over {
            settled(&all);
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(all.over.load(Ordering::Relaxed), "nobody said that it is over");
    });
}
