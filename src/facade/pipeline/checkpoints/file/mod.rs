//! Pages in files: one for each key.
//!
//! 1. A page is written to a file of its own beside, synced, renamed over the one before, and the
//!    directory is synced: whenever the process or the machine dies, the one or the other is there,
//!    whole.
//! 2. A file's name is made for the eye (what of the key can stand in a name, cut), for uniqueness
//!    (a hash), and for certainty (a number, should two keys share both); the key itself stands
//!    inside, so nothing is ever read from a name, and no key leads out of the directory.
//! 3. What is not as it was written, or is of another version, is renamed into `set-aside/` and
//!    reported. Nothing is overwritten there, nor deleted.
//! 4. From the first look to the pipeline's end the directory is locked: for one store of one process.
//! 5. A file is touched by one call at a time, also by one that nobody waits for any more.
//! 6. All of it runs on tokio's threads for blocking work, each call awaited by who asked for it:
//!    as many at once as the pipeline has scribes.

mod config;
mod disk;
mod format;
mod names;
mod store;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use config::FileCheckpointsConfig;
pub use store::FileCheckpoints;

#[cfg(fuzzing)]
pub(crate) use format::claims;
