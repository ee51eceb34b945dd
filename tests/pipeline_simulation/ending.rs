//! What the tickets of a life heard in the end, and whether that is what happened.

use std::collections::HashMap;

use headworks::pipeline::{Done, Ended, Failure, Intent};
use headworks::{Ending, Ledger};

use super::life::{Held, Lane, Life};
use super::ms;
use super::phases::{FIRST, NAMES, Plan, STORE};
use super::world::{Event, Load, World};

impl Life {
    /// Awaits every ticket that is held, and writes down what it heard.
    pub(crate) async fn hear(&mut self, world: &World, is_whole: bool) {
        for Held { id, key, ticket } in std::mem::take(&mut self.held) {
            let heard = tokio::time::timeout(ms(1), ticket).await;
            let heard = heard.unwrap_or_else(|_| panic!("the ticket of {id} is never told"));
            self.told.heard(world, &key, &heard);
            let ending = match heard {
                Ok(done) => completed(world, &done),
                Err(ended) => self.ended(world, &key, ended, is_whole),
            };
            world.meet(format!("{ending:?}"));
            *self.heard.entry(ending).or_default() += 1;
        }
    }

    fn ended(&mut self, world: &World, key: &str, ended: Ended<Load>, is_whole: bool) -> Ending {
        let (ending, unknown) = (ended.ending(), ended.is_indeterminate());
        let begun = ended.trace().phases.iter().any(|phase| phase.attempts > 0);
        assert!(!(ending == Ending::Evicted && begun), "{key} evicted after it began");
        assert!(!unknown || ending == Ending::Failed);
        let is_final = match ended.error() {
            Some(Failure::Phase(error)) => !error.is_retryable(),
            // Between two attempts: what it was made of is gone with it, and can't be undone.
            Some(Failure::Panicked(text)) => text != "a bomb",
            Some(Failure::NotPersisted(_)) => true,
            _ => false,
        };
        let undone: Vec<_> = ended.trace().undone().collect();
        let former = ended.trace().phases.iter().any(|phase| phase.attempts == 0);
        if let Some(intent) = ended.into_intent() {
            self.came_back(&intent);
            let id = intent.payload.id;
            let is_free = is_whole && !self.touched.contains(&id) && !self.cancelled.contains(key);
            let must = ending == Ending::Failed && is_final && !unknown && is_free && !former;
            check_undo(world, id, &Undone { ending, told: &undone, former, must });
        }
        ending
    }

    pub(crate) fn came_back(&mut self, intent: &Intent<Load>) {
        intent.payload.disarm();
        assert!(self.returned.insert(intent.payload.id), "{} twice", intent.payload.id);
    }

    /// What was heard is what was counted.
    pub(crate) fn compare(&self, ledger: Ledger) {
        assert!(ledger.is_exact(), "{ledger}");
        assert_eq!(ledger.live, 0);
        let mut unheard = 0;
        for ending in Ending::ALL {
            let heard = self.heard.get(&ending).copied().unwrap_or(0);
            assert!(heard <= ledger.count(ending), "{ending}: {heard} heard, {ledger}");
            unheard += ledger.count(ending) - heard;
        }
        // Submits that were dropped while they waited for the disk, or given back by it, have no
        // ticket.
        assert!(unheard >= self.dropped, "{ledger}");
        if self.disk.is_none() {
            assert_eq!(unheard, self.dropped, "{ledger}");
            assert_eq!(ledger.accepted, self.accepted.len() as u64);
        }
    }

    /// Inside a class and tenant the first attempts begin in the order of acceptance.
    pub(crate) fn check_order(&self, world: &World) {
        let place: HashMap<u64, usize> =
            self.accepted.iter().enumerate().map(|(at, &(id, _))| (id, at)).collect();
        let lanes: HashMap<u64, Lane> = self.accepted.iter().copied().collect();
        let mut last: HashMap<Lane, usize> = HashMap::new();
        for id in &*world.started.lock().unwrap() {
            let Some(before) = last.insert(lanes[id], place[id]) else { continue };
            world.claim(before < place[id], || format!("{id} of {:?} out of order", lanes[id]));
        }
    }
}

pub(crate) fn completed(world: &World, done: &Done<Plan>) -> Ending {
    let Plan { made_for, topic, .. } = &*done.output;
    world.claim(made_for % 4 == *topic, || format!("{:?} is of another topic", done.output));
    Ending::Completed
}

/// How a run ended, and what of that is known of its undoing.
struct Undone<'a> {
    ending: Ending,
    told: &'a [&'static str],
    /// It came from the disk.
    former: bool,
    must: bool,
}

/// Undone are the phases that were done, backwards, each at most once, and only where it failed. Where
/// nothing else came between, it `must` be all of them.
fn check_undo(world: &World, id: u64, end: &Undone) {
    let Undone { ending, told, former, must } = *end;
    let journal = world.journal.lock().unwrap().get(&id).cloned().unwrap_or_default();
    let undoing: Vec<usize> = journal
        .iter()
        .filter_map(|event| match event {
            Event::Undoing(phase) => Some(*phase),
            Event::Done(_) => None,
        })
        .collect();
    let done = |phase: usize| journal.contains(&Event::Done(phase));
    let is_backwards = undoing.windows(2).all(|pair| pair[1] < pair[0]);
    // Or in a former life.
    let was_done = former || undoing.iter().all(|&phase| done(phase));
    let is_failed = undoing.is_empty() || ending == Ending::Failed;
    world.claim(is_backwards && was_done && is_failed, || {
        format!("{id} ended {ending}: undone out of order: {journal:?}")
    });
    let mut named = told.iter().map(|name| NAMES.iter().position(|it| it == name).unwrap());
    // A phase whose undoing does nothing is named as well.
    world.claim(
        named.all(|phase| undoing.contains(&phase) || ![FIRST, STORE].contains(&phase)),
        || format!("{id}: {told:?} told, {undoing:?} undone"),
    );
    let all: Vec<usize> = [STORE, FIRST].into_iter().filter(|&phase| done(phase)).collect();
    if must {
        world.claim(undoing == all, || format!("{id} failed, not all is undone: {journal:?}"));
    }
    if !undoing.is_empty() {
        world.meet("undone");
    }
}
