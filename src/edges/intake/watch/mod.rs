//! Files of a directory become intents: each is taken once, run once, and put away with a status that
//! says how it ended. On Unix.
//!
//! ```text
//! intents/                    scale-up.json        waits to be taken
//!   processing/  019a8f3c2b1-5d0e7c4a9b3f2-scale-up.json   taken, and not ended
//!   processed/   019a8f3c2b1-5d0e7c4a9b3f2-scale-up.json   ended, and beside it
//!                019a8f3c2b1-5d0e7c4a9b3f2-scale-up.json.status.json
//!   failed/      the same, of files of which something failed
//! ```
//! Writers write into the directory and close, or write elsewhere (under a name with another ending,
//! say) and rename into it; both are taken at once, where the system tells of it (Linux). Where it
//! does not tell, and for what is there already at the start, a file is taken that was found twice
//! the same, [`settle_small`](WatchConfig::settle_small) or
//! [`settle_large`](WatchConfig::settle_large) apart.
//!
//! # How a file ends
//! In `processed`, when each of its documents completed, was superseded by something newer, or is no
//! intent (`skipped`); also when it has none. In `failed`, when one was rejected by the decoder,
//! refused by the pipeline for good, failed or expired; or when the file is too large, has too many
//! documents, is no regular file (links, FIFOs, sockets and devices are moved, never opened or
//! followed), can't be read, or its decoder panicked. The status lists every document: `key`,
//! `generation`, `end`, `reason`, `pointer`, `phase`.
//!
//! What the pipeline refuses for now (its queue is full, a limiter or breaker says no, it is paused)
//! waits, and so does what it evicts: the highest class first, then as the files were taken, and it is
//! tried again when the refusal said, or when something of the watcher's has ended. So many wait in
//! memory as may be [in flight](WatchConfig::files_in_flight); the others stay in the directory. Of
//! two documents about one object, without generations, the one in the file that was taken later wins,
//! whatever their classes.
//!
//! The same content again is not run again while the first is in flight, and for
//! [`dedup_window`](WatchConfig::dedup_window) after it completed, unless something else was asked of
//! one of its objects in between, here (what came in by other ways is not known). It ends as the first
//! did, with `"duplicate": true`.
//!
//! # A file's life, and what a death at each step leads to
//! 1. *It is written.* Nothing is known of it but its name. → The next start finds it.
//! 2. *It is claimed*: renamed into `processing`, under a name that no other file ever had. From then
//!    on its own name is free, and whoever writes there again writes another file. → The next start
//!    finds it in `processing` and reads it first.
//! 3. *It is read and decoded.* Whatever changes while it is read is read again when it has settled;
//!    what was not seen closed, and is rejected, is read again after
//!    [`doubt`](WatchConfig::doubt). → As 2.
//! 4. *Its documents are accepted, and run.* → As 2: they are submitted again, or found in what the
//!    pipeline [restored](crate::IntentPipeline::restore) and not submitted
//!    ([`start_resumed`](DirectoryWatcher::start_resumed)); durable phases that are on disk do not run
//!    again, others do.
//! 5. *All have ended.* A file that was changed since it was read is another content: it begins
//!    again at 3, and nothing is written of the one before. → As 2: a document whose end was not
//!    written yet is run once more, so phases must be idempotent, as for checkpoints.
//! 6. *Its status is written*, under another name. → As 5; what is left of it is overwritten.
//! 7. *The status gets its name.* This is the end of the file. → The next start moves the file beside
//!    it, and runs nothing. (The pipeline may: a page of its checkpoints can outlive the ending by a
//!    moment, unless its last phase is durable.)
//! 8. *The file is moved beside its status.*
//!
//! # What it does not do
//! It watches one directory, and none below. A writer that keeps a file open and writes on after it
//! was taken is noticed only if the file's size or time of change differs by its end. Found at the
//! start, or after events were lost, a file whose writer pauses longer than it takes to settle is
//! taken as it is: such writers should rename. Priorities are known of files that were read, so they
//! order what is in flight: where one tenant's files, held back by its quota, are all that is in flight,
//! other tenants' wait in the directory for them. A file that can't be moved (somebody else's in a sticky
//! directory, say) stays where it is, is told of as [`trouble`](WatchSnapshot::trouble), and is tried
//! again, ever more rarely. Nothing is removed: `processed` and `failed` grow until somebody clears
//! them. Without [`Durability::Power`] a loss of power may forget the steps 6 to 8
//! of the last files.

// Invariants
// 1. A file is in exactly one of: the directory (known to `waiting`, or not yet), `processing` (known
//    as one of the core's `files`, or left to the next life), an end folder. Only renames that
//    replace nothing move it, so no content is ever overwritten.
// 2. A name in `processing` is given once (`names`), so a status of that name is the status of that
//    file, and its being there says that the file has ended.
// 3. All names are single components below handles that were opened at the start, and no link is
//    followed; before something is renamed into a folder, its name must still lead to that handle.
// 4. Documents are submitted only when all files that were taken before theirs are read (`barrier`); and
//    when one is accepted, older ones about its object that wait are superseded; of one name, one file
//    is claimed at a time. So what is newer is never replaced by what is older.
// 5. Work on the disk: at most `workers` at once. Names: `max_waiting` in `waiting`, as many in
//    `events`. Files: `files_in_flight`. Beyond, the directory itself is the queue, and `is_behind`
//    says that it is to be read again.
// 6. Whatever is refused for now closes a gate with a time (`line`), whatever fails on the disk is a
//    `trouble` with a time, or, where it is a matter of one file, has a time of its own (`stuck`): nothing
//    is tried in a loop. Code of the operator's that panics (a decoder, an error that is shown, a payload
//    that is dropped) ends a document, never the task.
// 7. The core is pure and owned by one task (`driver`), which the handle owns: it ends when it is
//    closed and empty, or cut, or when the handle is dropped. The library's thread that reads events
//    ends with the task.

mod config;
mod core;
mod driver;
mod error;
mod events;
mod file;
mod finish;
mod folder;
mod known;
mod line;
mod metrics;
mod names;
mod status;
mod steps;
mod take;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod waiting;
mod watcher;

pub use config::{Durability, WatchConfig};
pub use error::WatchError;
pub use metrics::WatchSnapshot;
pub use watcher::{DirectoryWatcher, WatchReport, Watching};

#[cfg(fuzzing)]
pub(crate) fn claims(bytes: &[u8]) {
    names::claims(bytes);
    status::claims(bytes);
}
