//! What the tasks do: what the seed and their number say.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use headworks::WorkerPool;
use tokio::time::sleep;

use crate::harness::ms;
use crate::harness::rng::Rng;

const BOMB: &str = "a bomb";
const PANIC: &str = "a task";

/// The panics that are part of the load are not worth a line each.
pub(super) fn quiet_bombs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| [BOMB, PANIC].contains(text)) {
                shown(info);
            }
        }));
    });
}

/// What is seen from outside of the pool.
#[derive(Default)]
pub(super) struct World {
    pub(super) seed: u64,
    /// On real threads and the real clock, where everything takes a tenth of the time.
    pub(super) is_real: bool,
    /// Tasks whose first poll has begun.
    pub(super) begun: Mutex<HashSet<u64>>,
    /// Endings, refusals and other things that came up.
    pub(super) met: Mutex<HashSet<String>>,
    /// Futures and results there are.
    pub(super) loads: AtomicUsize,
    /// Tasks that tasks had accepted.
    pub(super) children: AtomicUsize,
    /// How often the callback of which task was called.
    pub(super) calls: Mutex<HashMap<u64, u32>>,
}

impl World {
    pub(super) fn meet(&self, what: impl std::fmt::Debug) {
        self.met.lock().unwrap().insert(format!("{what:?}").trim_matches('"').to_owned());
    }

    pub(super) fn ms(&self, time: u64) -> Duration {
        if self.is_real { ms(time) / 10 } else { ms(time) }
    }

    pub(super) fn call(&self, id: u64, panics: bool) {
        *self.calls.lock().unwrap().entry(id).or_default() += 1;
        if panics {
            self.meet("a panic in a callback");
            panic_any(BOMB);
        }
    }

    pub(super) fn has_begun(&self, id: u64) -> bool {
        self.begun.lock().unwrap().contains(&id)
    }
}

/// What a task holds and gives back. Some panic when they are dropped, unless disarmed.
pub(super) struct Load {
    id: u64,
    armed: AtomicBool,
    world: Arc<World>,
}

impl Load {
    pub(super) fn new(id: u64, is_bomb: bool, world: &Arc<World>) -> Self {
        world.loads.fetch_add(1, Ordering::Relaxed);
        Self { id, armed: AtomicBool::new(is_bomb), world: Arc::clone(world) }
    }

    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.world.loads.fetch_sub(1, Ordering::Relaxed);
        if self.armed.load(Ordering::Relaxed) && !std::thread::panicking() {
            panic_any(BOMB);
        }
    }
}

pub(super) type Body = Pin<Box<dyn Future<Output = Load> + Send>>;

/// `pool`: where it may submit a task of its own, and await that.
pub(super) fn body(load: Load, pool: Option<WorkerPool>) -> Body {
    Box::pin(async move {
        let first = load.world.begun.lock().unwrap().insert(load.id);
        assert!(first, "{} ran twice", load.id);
        let mut rng = Rng(load.world.seed ^ load.id.wrapping_mul(0x2545_f491_4f6c_dd1d));
        match rng.below(3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => sleep(load.world.ms(rng.below(60))).await,
        }
        match rng.below(12) {
            0 => panic_any(PANIC),
            1 => std::future::pending().await,
            2 => sleep(load.world.ms(3_000)).await,
            3 => child(&load, pool).await,
            _ => {}
        }
        load
    })
}

/// One that holds a thread.
pub(super) fn work(load: Load) -> impl FnOnce() -> Load + Send + 'static {
    move || {
        let first = load.world.begun.lock().unwrap().insert(load.id);
        assert!(first, "{} ran twice", load.id);
        let mut rng = Rng(load.world.seed ^ load.id.wrapping_mul(0x2545_f491_4f6c_dd1d));
        (0..rng.below(2_000)).for_each(|_| std::thread::yield_now());
        load.world.meet("a thread");
        if rng.one_in(8) {
            panic_any(PANIC);
        }
        load
    }
}

async fn child(parent: &Load, pool: Option<WorkerPool>) {
    let Some(pool) = pool else { return };
    // Numbers of children are those that no task of the fire has.
    let load = Load::new(!parent.id, false, &parent.world);
    if let Ok(handle) = pool.try_submit(body(load, None)) {
        parent.world.children.fetch_add(1, Ordering::Relaxed);
        if handle.await.is_ok() {
            parent.world.meet("a child");
        }
    }
}
