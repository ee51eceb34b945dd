//! One run over a folder, or over what is generated: until every document has ended.

use std::time::Duration;

use crate::cli::Options;
use crate::parts::Parts;
use crate::progress::Progress;
use crate::reader::{Reader, Source};
use crate::start_error::StartError;
use crate::submit::{Limits, carry_out};
use crate::summary::Summary;

/// Beyond the end of the pipeline: longer than the repository takes at its slowest.
const LAST_PUSHES: Duration = Duration::from_secs(300);

/// Runs until every document has ended, however it may; `interrupt` begins a drain.
///
/// # Errors
/// A part cannot begin. Once all have, nothing that goes wrong with a document is an error here:
/// it is in the summary.
pub(crate) async fn run(
    options: &Options,
    interrupt: impl Future<Output = ()>,
    mut progress: Progress,
) -> Result<Summary, StartError> {
    let reader = reader(options)?;
    let parts = Parts::open(options).await?;
    let (tally, drained) =
        carry_out(&parts.pipeline, reader, limits(options), interrupt, &mut progress).await;
    let elapsed = progress.finish();
    Ok(Summary::new(tally, drained, parts.close(LAST_PUSHES).await, elapsed))
}

fn reader(options: &Options) -> Result<Reader, StartError> {
    let source = match options.generate {
        Some(count) => Source::Generator { count, seed: options.seed },
        None => Source::Place(options.intents.clone()),
    };
    let place = options.intents.display().to_string();
    Reader::start(source).map_err(|source| StartError::Intents { place, source })
}

fn limits(options: &Options) -> Limits {
    // The lowest class may fill 80 % of the queue; see `Limits::window`.
    let window = (options.rooms.pipeline.queue_capacity * 4 / 5).max(1);
    Limits { window, deadline: options.deadline(), drain: options.drain }
}
