//! Phases that do what chance says: one of each kind.
//!
//! `first` (durable where there are checkpoints, undone) → `batch` (several inputs at once) → `store`
//! (durable, undone) → `look` (its output kept and shared by several keys) → `commit` (perhaps
//! critical, perhaps durable).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use headworks::pipeline::{BatchPhase, Phase, PhaseContext, PhaseError, Step};
use serde::{Deserialize, Serialize};

use super::ms;
use super::world::{Event, Inside, Load, Made, World};

pub(crate) const NAMES: [&str; 5] = ["first", "batch", "store", "look", "commit"];
pub(crate) const FIRST: usize = 0;
pub(crate) const STORE: usize = 2;

/// What one attempt comes to.
async fn chance(world: &World) -> Result<Step<()>, PhaseError> {
    if world.is_calm() {
        tokio::task::yield_now().await;
        return Ok(Step::Done(()));
    }
    match world.below(3) {
        0 => {}
        1 => tokio::task::yield_now().await,
        _ => tokio::time::sleep(ms(world.below(60))).await,
    }
    match world.below(48) {
        0..3 => Err(PhaseError::retryable("down")),
        3 | 4 => Err(PhaseError::permanent("never")),
        5 => Err(PhaseError::overloaded("busy", Some(ms(world.below(40))))),
        6 => std::panic::panic_any("a phase"),
        7..10 => Ok(Step::Again { after: ms(world.below(50)) }),
        10 => {
            tokio::time::sleep(ms(3000)).await;
            Ok(Step::Done(()))
        }
        11 => Err(PhaseError::refused("full here", Some(ms(world.below(20))))),
        _ => Ok(Step::Done(())),
    }
}

/// As it comes to, with this output.
async fn attempt<T>(
    world: &World,
    cx: &PhaseContext,
    make: impl FnOnce() -> T,
) -> Result<Step<T>, PhaseError> {
    let _inside = Inside::enter(world, cx.key());
    Ok(match chance(world).await? {
        Step::Again { after } => Step::Again { after },
        Step::Done(()) => Step::Done(make()),
    })
}

/// What a durable phase that is on disk never does.
fn begins_durable(world: &World, id: u64, phase: usize) {
    let is_kept = world
        .kept
        .lock()
        .unwrap()
        .get(&id)
        .is_some_and(|done| done.iter().any(|done| done == NAMES[phase]));
    world.claim(!is_kept, || format!("{id}: {} was on disk, and runs again", NAMES[phase]));
}

async fn undo(world: &World, id: u64, phase: usize, cx: &PhaseContext) {
    world.note(id, Event::Undoing(phase));
    world.undone.lock().unwrap().insert(cx.key().to_owned());
    match world.below(8) {
        _ if world.is_calm() => {}
        0 => std::panic::panic_any("an undoing"),
        1 => tokio::time::sleep(ms(10_000)).await,
        2 | 3 => tokio::time::sleep(ms(world.below(30))).await,
        _ => {}
    }
}

pub(crate) struct First;

impl Phase<Load> for First {
    type Out = Made;

    async fn run(&self, load: &Load, cx: &PhaseContext) -> Result<Step<Made>, PhaseError> {
        load.world.begins(cx.key());
        if cx.attempt() == 1 {
            load.world.started.lock().unwrap().push(load.id);
        }
        begins_durable(&load.world, load.id, FIRST);
        attempt(&load.world, cx, || {
            load.world.note(load.id, Event::Done(FIRST));
            let is_bomb = load.armed.load(Ordering::Relaxed) && load.id.is_multiple_of(3);
            Made(Arc::new(Load::new(load.id, &load.key, is_bomb, &load.world)))
        })
        .await
    }

    async fn undo(&self, load: &Load, _: &Made, cx: &PhaseContext) {
        undo(&load.world, load.id, FIRST, cx).await;
    }
}

pub(crate) struct Batch(pub(crate) Arc<World>);

impl BatchPhase<Made> for Batch {
    type Out = Made;

    async fn run(&self, inputs: &[Made]) -> Result<Vec<Result<Made, PhaseError>>, PhaseError> {
        if inputs.len() > 1 {
            self.0.meet("batch of several");
        }
        // A batch waits no longer than its inputs' time.
        let calm = self.0.is_calm();
        if !calm && self.0.below(4) == 0 {
            tokio::time::sleep(ms(self.0.below(40))).await;
        }
        match self.0.below(20) {
            0 if !calm => std::panic::panic_any("a phase"),
            1 if !calm => return Err(PhaseError::retryable("down")),
            2 if !calm => return Err(PhaseError::permanent("never")),
            _ => {}
        }
        let one = |made: &Made| match self.0.below(16) {
            0 if !calm => Err(PhaseError::retryable("not this one")),
            1 if !calm => Err(PhaseError::permanent("never this one")),
            _ => Ok(made.clone()),
        };
        Ok(inputs.iter().map(one).collect())
    }
}

pub(crate) struct Store;

impl Phase<Made> for Store {
    type Out = Made;

    async fn run(&self, made: &Made, cx: &PhaseContext) -> Result<Step<Made>, PhaseError> {
        let load = &made.0;
        load.world.begins(cx.key());
        begins_durable(&load.world, load.id, STORE);
        attempt(&load.world, cx, || {
            load.world.note(load.id, Event::Done(STORE));
            made.clone()
        })
        .await
    }

    async fn undo(&self, made: &Made, _: &Made, cx: &PhaseContext) {
        undo(&made.0.world, made.0.id, STORE, cx).await;
    }
}

/// What a look brings: whose look it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) made_for: u64,
    key: String,
    pub(crate) topic: u64,
}

pub(crate) fn topic(made: &Made) -> u64 {
    made.0.id % 4
}

pub(crate) struct Look;

impl Phase<Made> for Look {
    type Out = Plan;

    async fn run(&self, made: &Made, cx: &PhaseContext) -> Result<Step<Plan>, PhaseError> {
        let Load { id, key, world, .. } = &*made.0;
        attempt(world, cx, || Plan { made_for: *id, key: key.clone(), topic: topic(made) }).await
    }
}

pub(crate) struct Commit(pub(crate) Arc<World>);

impl Phase<Plan> for Commit {
    type Out = Plan;

    async fn run(&self, plan: &Plan, cx: &PhaseContext) -> Result<Step<Plan>, PhaseError> {
        self.0.begins(cx.key());
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        if plan.key != cx.key() {
            self.0.meet("shared output");
        }
        attempt(&self.0, cx, || {
            self.0.done.lock().unwrap().insert(cx.key().to_owned());
            plan.clone()
        })
        .await
    }
}
