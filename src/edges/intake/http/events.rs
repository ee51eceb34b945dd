//! The phases of a ticket, told as they come (server-sent events, HTML Standard, section 9.2).
//!
//! A stream keeps nothing for a client that reads slowly: what is told is where the run is when the
//! client takes the next event, so the newest wins. Phases come in their order, so those that passed
//! meanwhile are told as done; only their attempts are not told one by one, and `ended` has them all.

use std::fmt::Write;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::ticket::{Filed, Named, Status};
use crate::ground::time;
use crate::pipeline::{Progress, Stage};

/// The events of one ticket, from where its run is now to its end.
pub(super) struct Events {
    /// `None` once all is told.
    step: Option<Step>,
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Teller)>> + Send>>;

impl Events {
    pub(super) fn new(teller: Teller) -> Self {
        Self { step: Some(Box::pin(teller.next())) }
    }

    /// The next piece of the stream, one event or several.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(step) = &mut self.step else { return Poll::Ready(None) };
        let told = ready!(step.as_mut().poll(cx));
        let Some((bytes, teller)) = told else {
            self.step = None;
            return Poll::Ready(None);
        };
        self.step = Some(Box::pin(teller.next()));
        Poll::Ready(Some(bytes))
    }
}

/// What it takes to tell.
pub(super) struct Teller {
    pub(super) ticket: Arc<Filed>,
    pub(super) progress: Progress,
    pub(super) phases: Arc<[&'static str]>,
    pub(super) heartbeat: Duration,
    /// Streams end with the intake, told or not.
    pub(super) closing: CancellationToken,
    pub(super) said: Said,
    pub(super) _place: OwnedSemaphorePermit,
}

/// What of it has been said.
#[derive(Debug, Default)]
pub(super) struct Said {
    all: bool,
    /// How many phases are done, as the client knows.
    done: usize,
    number: u64,
}

/// What woke it.
enum Woken {
    Moved(Stage),
    Ended,
    Idle,
    Closing,
}

impl Teller {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.said.all {
            return None;
        }
        let mut text = String::new();
        let woken = if self.ticket.ended.initialized() {
            Woken::Ended
        } else {
            // The first time this is where it is now.
            self.wait().await
        };
        match woken {
            Woken::Closing => return None,
            Woken::Idle => text.push_str(": nothing new\n\n"),
            Woken::Moved(stage) => self.said.stage(stage, &self.phases, &mut text),
            Woken::Ended => self.said.end(&self.ticket, &self.phases, &mut text),
        }
        Some((Bytes::from(text), self))
    }

    async fn wait(&mut self) -> Woken {
        let Self { ticket, progress, closing, heartbeat, .. } = self;
        let moved = async {
            match progress.changed().await {
                Some(stage) => Woken::Moved(stage),
                // Its ending comes with the ticket.
                None => std::future::pending().await,
            }
        };
        let ended = async {
            ticket.ended.wait().await;
            Woken::Ended
        };
        let either = async {
            let (mut moved, mut ended) = (pin!(moved), pin!(ended));
            poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(woken) => Poll::Ready(woken),
                Poll::Pending => moved.as_mut().poll(cx),
            })
            .await
        };
        let until = time::later(time::now(), *heartbeat);
        let woken = closing.run_until_cancelled(time::until(until, either)).await;
        woken.map_or(Woken::Closing, |woken| woken.unwrap_or(Woken::Idle))
    }
}

impl Said {
    /// Where the run is, after the phases that are behind it.
    fn stage(&mut self, stage: Stage, phases: &[&'static str], text: &mut String) {
        let behind = match stage {
            Stage::Running { place, .. } | Stage::Waiting { place, .. } => place,
            _ => 0,
        };
        self.passed(behind, phases, text);
        let event = if matches!(stage, Stage::Queued) { "queued" } else { "phase" };
        self.event(event, &Named::of(stage), text);
    }

    fn end(&mut self, ticket: &Filed, phases: &[&'static str], text: &mut String) {
        self.all = true;
        let Some(record) = ticket.ended.get() else { return };
        let behind = if record.is_completed() { phases.len() } else { record.reached() };
        let last = usize::from(!record.is_completed());
        self.passed(behind.saturating_sub(last), phases, text);
        let status: Status<'_> = ticket.look();
        self.event("ended", &status, text);
    }

    /// Phases of which the client has not heard that they are done.
    fn passed(&mut self, behind: usize, phases: &[&'static str], text: &mut String) {
        let behind = behind.min(phases.len());
        for &phase in phases.get(self.done..behind).unwrap_or_default() {
            let done = Named { state: "done", phase: Some(phase), attempt: None };
            self.event("phase", &done, text);
        }
        self.done = self.done.max(behind);
    }

    /// JSON has no line ends but escaped ones, so one `data` line is enough.
    fn event(&mut self, name: &str, data: &impl Serialize, text: &mut String) {
        self.number += 1;
        let data = serde_json::to_string(data).unwrap_or_default();
        // A string takes all of it.
        let _ = write!(text, "event: {name}\nid: {}\ndata: {data}\n\n", self.number);
    }
}
