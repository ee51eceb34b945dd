//! Submits documents as the pipeline has room for them, and hears how each ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use headworks::IntentPipeline;
use headworks::pipeline::DrainReport;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::git::CommitId;
use crate::hands::Hands;
use crate::intent::NetworkIntent;
use crate::progress::Progress;
use crate::reader::Reader;
use crate::tally::Tally;

/// Intents in, commits out.
pub(crate) type Pipeline = IntentPipeline<Arc<NetworkIntent>, CommitId>;

/// How long between two looks at the progress.
const TICK: Duration = Duration::from_millis(200);

/// What submitting is bounded by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Intents in hand at once. Below the pipeline's lowest threshold, no class is ever refused,
    /// and none evicts another: what the operator has accepted, it carries out.
    pub(crate) window: usize,
    /// How long one may take; `None`: as long as it likes.
    pub(crate) deadline: Option<Duration>,
    pub(crate) drain: Duration,
}

/// Carries every document to its end. An `interrupt` closes the pipeline: work in progress gets
/// the time of a drain, and what wasn't accepted by then is refused, by name.
pub(crate) async fn carry_out(
    pipeline: &Pipeline,
    mut reader: Reader,
    limits: Limits,
    interrupt: impl Future<Output = ()>,
    progress: &mut Progress,
) -> (Tally, DrainReport<Arc<NetworkIntent>>) {
    let mut interrupt = pin!(interrupt);
    let mut hands = Hands::new(pipeline.clone(), limits);
    let mut drain: Option<JoinHandle<DrainReport<_>>> = None;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut has_more = true;
    while has_more || !hands.are_empty() {
        tokio::select! { biased;
            () = &mut interrupt, if drain.is_none() => {
                let pipeline = pipeline.clone();
                pipeline.close();
                hands.close();
                reader.interrupt();
                drain = Some(tokio::spawn(async move { pipeline.shutdown(limits.drain).await }));
            }
            finished = hands.finished(), if !hands.are_empty() => hands.put_down(finished),
            read = reader.next(), if has_more && hands.have_room() => match read {
                Some(read) => hands.take(read),
                None => has_more = false,
            },
            _ = ticks.tick() => {
                let total = if has_more { reader.total() } else { Some(hands.seen()) };
                progress.show(&pipeline.snapshot(), hands.tally(), total);
            }
        }
    }
    let mut tally = hands.into_tally();
    tally.not_submitted = reader.total().map_or(0, |total| total.saturating_sub(tally.documents()));
    tally.sort();
    reader.stop().await;
    let report = match drain {
        Some(drain) => drain.await.expect("a shutdown does not panic and is not aborted"),
        None => pipeline.shutdown(limits.drain).await,
    };
    (tally, report)
}
