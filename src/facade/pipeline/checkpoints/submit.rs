//! Accepted is on disk.

use std::sync::Arc;

use super::error::NotPersisted;
use super::kept::{Persisted, Saving};
use crate::facade::pipeline::Intent;
use crate::facade::pipeline::ticket::{Ended, Promise, Ticket};
use crate::{Reason, Refused};

impl Saving {
    /// Until it is on disk, or will never be.
    async fn persisted(&self) -> Result<(), NotPersisted> {
        match self.0.wait().await {
            Persisted::Yes => Ok(()),
            Persisted::Ended => Err(NotPersisted::Ended),
            Persisted::Failed(error) => Err(NotPersisted::Failed(Arc::clone(error))),
        }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Ticket<P, O> {
    /// Waits until the intent is on disk: from then on it is not lost with the process. (What a
    /// ticket that joins brings along, a higher class or a later deadline, follows soon after.)
    ///
    /// No phase begins before. A ticket from [`submit`](crate::IntentPipeline::submit) is on disk
    /// already.
    ///
    /// # Errors
    /// It is not, and will not be; the ticket itself says how it ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: it only watches.
    pub async fn persisted(&self) -> Result<(), NotPersisted> {
        match &self.saving {
            Some(saving) => saving.persisted().await,
            None => Err(NotPersisted::NoCheckpoints),
        }
    }
}

/// The ticket, once its intent is on disk; at once where nothing is kept. One that can't be kept
/// is a refusal, with the intent. Dropped before, it is cancelled.
pub(in crate::facade::pipeline) async fn on_disk<P, O>(
    ticket: Ticket<P, O>,
) -> Result<Ticket<P, O>, Refused<Intent<P>>>
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    let Some(saving) = ticket.saving.clone() else { return Ok(ticket) };
    let mut ticket = ticket.cancel_on_drop();
    if let Err(NotPersisted::Failed(_)) = saving.persisted().await {
        let mut ended = (&mut ticket).await;
        if let Err(Ended(details)) = &mut ended
            && let Some(intent) = details.intent.take()
        {
            return Err(Refused::new(Reason::NotPersisted, None, intent));
        }
        // Another ticket has the intent, so this one tells how it ended.
        let told = Promise::new();
        drop(told.put(ended));
        ticket.promise = Arc::new(told);
    }
    // What ended before it was on disk tells so itself, too.
    ticket.cancels = false;
    Ok(ticket)
}
