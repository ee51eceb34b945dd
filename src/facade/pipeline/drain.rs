//! The end: what was accepted is finished, returned, or listed by name.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoints::Pages;
use super::intent::Intent;
use super::progress::Abandoned;
use super::run::Effects;
use super::shared::Shared;
use crate::Ledger;
use crate::ground::time::{self, Instant};

/// What a shutdown found, once everything was over.
#[derive(Debug)]
#[non_exhaustive]
pub struct DrainReport<P> {
    /// Tickets. `live` counts those of `unresponsive`.
    pub ledger: Ledger,
    /// Runs.
    pub runs: Ledger,
    /// Each run that was waiting when the time was up, by value and exactly once.
    pub returned: Vec<Returned<P>>,
    /// Keys whose critical attempt was still running: its effect may still happen, or not.
    pub indeterminate: Vec<Arc<str>>,
    /// Keys whose attempt did not yield when it was asked to stop.
    pub unresponsive: Vec<Arc<str>>,
}

/// A run that a shutdown gives back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Returned<P> {
    /// The intent, to be submitted elsewhere or kept.
    pub intent: Intent<P>,
    /// How many tickets ended `Returned` with it.
    pub tickets: usize,
}

/// How long beyond its time a shutdown may take to see the last ones off.
const MARGIN: Duration = Duration::from_millis(100);

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    pub(super) fn close(&self) {
        let mut fx = Effects::none();
        let mut core = self.core.lock();
        core.close(&mut fx);
        self.telling.closes();
        self.settle(core, &mut fx, time::now());
    }

    /// Gives back what waits and stops what runs.
    pub(super) fn cut(&self) {
        let now = time::now();
        let mut fx = Effects::none();
        let mut core = self.core.lock();
        core.cut(now, &mut fx);
        self.settle(core, &mut fx, now);
    }

    /// Lists what still runs, and sends the workers home.
    pub(super) fn abandon(&self) -> Abandoned {
        let now = time::now();
        let mut fx = Effects::none();
        let mut core = self.core.lock();
        let abandoned = core.abandon(now, &mut fx);
        core.over();
        self.settle(core, &mut fx, now);
        abandoned
    }

    /// Waits until nothing is live and all endings are told, `until` at the latest; whether that
    /// came.
    async fn is_emptied(&self, until: Option<Instant>) -> bool {
        self.comes_to(until, Self::is_over_and_told).await
    }

    /// The same for something else that may come once all is over.
    async fn comes_to(&self, until: Option<Instant>, is_so: impl Fn(&Self) -> bool) -> bool {
        let so = async {
            loop {
                let mut notified = pin!(self.emptied.notified());
                // Registered before the look, so that the last ending in between is not lost.
                notified.as_mut().enable();
                if is_so(self) {
                    return;
                }
                notified.await;
            }
        };
        time::until(until, so).await.is_some()
    }

    /// Whether the store has what it is to have.
    fn is_written(&self) -> bool {
        self.core.lock().pages.as_ref().is_none_or(Pages::is_clean)
    }

    /// See `IntentPipeline::shutdown`.
    pub(super) fn shutdown(&self, within: Duration) -> impl Future<Output = DrainReport<P>> {
        let start = time::now();
        async move {
            self.close();
            self.returned.lock().get_or_insert_default();
            let grace = self.grace().min(within / 2);
            let end = time::later(start, within);
            let margin = |part: u32| time::later(start, within.saturating_add(MARGIN / part));
            if !self.is_emptied(time::later(start, within - grace)).await {
                self.cut();
                if !self.is_emptied(end).await {
                    // What was stopped only just now gets half the margin to see it.
                    self.is_emptied(margin(2)).await;
                }
            }
            // Pages that could not be written are tried again for as long as there is time.
            self.comes_to(end, Self::is_written).await;
            let Abandoned { indeterminate, unresponsive } = self.abandon();
            // Endings that somebody else has decided are told by him: another shutdown's cut, say.
            self.is_emptied(margin(1)).await;
            if indeterminate.is_empty() && unresponsive.is_empty() {
                self.crew.all_gone(margin(1)).await;
            } else {
                self.comes_to(margin(1), Self::is_written).await;
            }
            let returned = self.returned.lock().take().unwrap_or_default();
            let snapshot = self.snapshot();
            let (ledger, runs) = (snapshot.ledger, snapshot.runs);
            DrainReport { ledger, runs, returned, indeterminate, unresponsive }
        }
    }

    /// The grace of critical phases; none when there are none.
    fn grace(&self) -> Duration {
        let core = self.core.lock();
        let has_critical = core.gates.iter().any(|gate| gate.critical);
        if has_critical { core.grace } else { Duration::ZERO }
    }
}
