//! What was accepted outlives the process: durable phases, and where they are kept.
//!
//! A pipeline with [`Checkpoints`] keeps a *page* for each key that has something live: its intents
//! (the one that runs, and the one behind it), and for each the outputs of the durable phases that
//! are done. A page is written
//!
//! - before an accepted intent may begin: [`submit`](super::IntentPipeline::submit) returns once it
//!   is on disk, and a ticket of `try_submit` has [`persisted`](super::Ticket::persisted);
//! - when a durable phase is done, before the next one may begin: the seat is free meanwhile;
//! - when an intent has ended: the page goes, or says only what else is live. If its last phase is
//!   durable, before its ending is told; else after.
//!
//! A version that waits is superseded when the page of the newer one is written, and not before: if that
//! one can't be kept, or ends first, the former goes on.
//!
//! A process that begins again calls [`restore`](super::IntentPipeline::restore): every intent that
//! is kept goes on behind the last durable phase that is done. That phase, and those before it, do
//! not run again. Whatever had begun and is not kept runs again: a durable phase that was killed
//! between its effect and its checkpoint, too, so it must be idempotent. A crash may also forget an
//! ending that has been told: then what came after the last checkpoint runs once more.
//!
//! What can't be written is never lost: an intent that can't be kept comes back (its tickets end
//! `Failed`, `submit` gives it back), and one whose durable phase is done waits, and the page is
//! tried again, until it is kept or the intent's deadline passes. One whose page can't be kept at all,
//! because it has grown too large, fails for good, and what it has done is undone, the last phase too.
//! One that is all done, its last phase being durable, waits whatever its deadline says, and a cancel
//! comes too late for it; only the end of a shutdown's time, or a drop, tells it that it completed
//! though the disk does not know: then a crash or a restart runs that phase again.
//!
//! A shutdown leaves on disk what did not finish, and gives the intents back as well: who submits
//! those elsewhere must not also restore them. A drop without a shutdown leaves what the last page
//! said. What had not come to the disk by then does not come there after it: it is with its submitter.
//!
//! While the store is down, pages that it may have or not are remembered, to be removed; with 1,024
//! pages whose last try failed nothing new is accepted ([`Reason::NotPersisted`](crate::Reason)).
//! A call that takes longer than [`Checkpoints::timeout`] has failed.
//!
//! # Undoing after a restore
//! Only what is kept can be undone: a phase is, when both its input and its output are there, which
//! is so when it and the phase before it are durable, or it is durable and the first. The others
//! are passed over.

// Invariants
// 1. At most one write of a page is under way, and each says all that is live of its key at the
//    moment it begins; so the last one is right, whatever became of the others.
// 2. A run with `unsaved` is parked and stays so until a page that holds its change is written: it
//    has no seat and stands in no line.
// 3. A page that differs from what is live is in line or being written (then `again`), unless a
//    shutdown left it so.
// 4. Keys known here ≤ keys on disk + keys live + 1,024 + what was accepted meanwhile: one that the
//    store is known not to have leaves no trace, and of others nobody is accepted beyond those.
// 5. The store is called outside of the core's lock, by the scribes only, which are members of the
//    crew: a shutdown waits for them, and they leave when every page is written. The last one closes
//    the store.
// 6. A version that another one takes the place of is held beside it until that one is on disk
//    (`former.rs`): never in a line, and a ticket and a run of the ledger's that are live.
// 7. A run that is condemned (`Kept::condemned`) has failed: it stands in its gate's line only for a
//    seat to undo in, and nothing but that, or the end of all, ends it.

mod build;
mod error;
mod file;
mod former;
mod kept;
mod loss;
mod memory;
mod metrics;
mod pages;
mod record;
mod restore;
mod scribe;
mod store;
mod submit;

pub use error::{CheckpointError, NotPersisted, RestoreError};
pub use file::{FileCheckpoints, FileCheckpointsConfig};
pub use memory::MemoryCheckpoints;
pub use metrics::CheckpointsSnapshot;
pub use restore::{Restored, Resumed};
pub use store::{Checkpoints, Loaded, SetAside};

pub(super) use build::pages;
#[cfg(fuzzing)]
pub(crate) use file::claims;
pub(super) use former::Former;
pub(super) use kept::{Checkpoint, Keeper, Kept, Past, Saving, Undecodable};
pub(super) use pages::Pages;
pub(super) use scribe::start;
pub(super) use submit::on_disk;
