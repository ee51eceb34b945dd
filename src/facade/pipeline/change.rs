//! What can be changed while a pipeline runs.

use super::core::Core;
use super::run::Effects;
use super::shared::Shared;
use crate::ConfigError;
use crate::ground::time;

impl<B> Core<B> {
    /// Nothing is accepted or started.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Other numbers of seats, from the next grant on.
    fn set_seats(&mut self, seats: usize) -> Result<(), ConfigError> {
        let most = self.most_seats;
        let heaviest = self.heaviest() as usize;
        let fits = (heaviest.max(1)..=most as usize).contains(&seats);
        let allowed = "the weight of every live run at least, as many as it was built with at most";
        ConfigError::unless(fits, "pipeline.seats", seats, allowed)?;
        self.seats = seats as u32;
        Ok(())
    }

    /// Another number of attempts at once in one phase, from the next grant on.
    fn set_concurrency(&mut self, phase: &str, concurrency: usize) -> Result<(), ConfigError> {
        let heaviest = self.heaviest() as usize;
        let known = self.gates.iter_mut().find(|gate| gate.name == phase);
        let shown = format_args!("{phase:?}");
        let field = "pipeline.phase.name";
        ConfigError::unless(known.is_some(), field, shown, "one of the pipeline's phases")?;
        let fits = (heaviest.max(1)..=1 << 16).contains(&concurrency);
        let allowed = "the weight of every live run at least, 65536 at most";
        ConfigError::unless(fits, "pipeline.phase.concurrency", concurrency, allowed)?;
        if let Some(gate) = known {
            gate.concurrency = concurrency as u32;
        }
        Ok(())
    }

    /// Another cap of the queue, from the next admission on: nobody who waits loses the place.
    fn set_queue_capacity(&mut self, capacity: usize) -> Result<(), ConfigError> {
        let fits = (1..=1 << 24).contains(&capacity);
        ConfigError::unless(fits, "pipeline.queue_capacity", capacity, "1..=16777216")?;
        self.capacity = capacity;
        self.gates.iter_mut().for_each(|gate| gate.line.set_cap(capacity));
        self.room.set_cap(capacity);
        Ok(())
    }

    /// The weight of the heaviest live run: below it, that one could never go on.
    fn heaviest(&self) -> u32 {
        let runs = self.runs.tickets().filter_map(|id| self.run(id));
        runs.map(|run| run.ask.weight.get().max(run.former_weight())).max().unwrap_or(0)
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// Changes something, and wakes whoever may go on by it.
    fn change<R>(&self, change: impl FnOnce(&mut Core<super::shared::Body<P, O>>) -> R) -> R {
        let now = time::now();
        let mut core = self.core.lock();
        let answer = change(&mut core);
        self.settle(core, &mut Effects::none(), now);
        answer
    }

    pub(super) fn pause(&self, paused: bool) {
        self.change(|core| core.pause(paused));
    }

    pub(super) fn set_seats(&self, seats: usize) -> Result<(), ConfigError> {
        self.change(|core| core.set_seats(seats))
    }

    pub(super) fn set_concurrency(&self, phase: &str, n: usize) -> Result<(), ConfigError> {
        self.change(|core| core.set_concurrency(phase, n))
    }

    pub(super) fn set_queue_capacity(&self, capacity: usize) -> Result<(), ConfigError> {
        self.change(|core| core.set_queue_capacity(capacity))
    }
}
