//! Where an intent ends up: a git repository, written by one process and read back by another.
//!
//! - One commit an intent; only its folder `<deploy path>/<namespace>/<name>/` is replaced.
//!   Folder and key are made of the same two DNS-1123 names, so two keys never share a folder.
//! - No fork per intent: commits go through one long-lived `git fast-import`, and one `git push`
//!   carries everything that waited while the last push ran (*group commit*).
//! - A commit's id is answered only when the target has it.
//! - A repeated *attempt* (generation and content equal those of the newest commit of its key)
//!   answers the commit that exists. Anything else commits anew, an unchanged tree too.
//!
//! # Invariants
//! 1. The index equals the trailers of the history at `head`, the last head of the target that
//!    was seen; entries of a group that is not pushed yet are staged beside it.
//! 2. A push names the head it expects (compare-and-swap). So either the target moves from `head`
//!    to our tip, or it is unchanged by us.
//! 3. A push whose end is unknown stands in `in_doubt` until the target was asked. No further
//!    commit is written before that.
//! 4. Every child process belongs to the task that talks to it, dies with it, and sits in its own
//!    process group: Ctrl-C at the terminal drains, it doesn't kill half of a commit.
//!
//! Works with git 2.30 and later, `SHA-1` repositories, and no configuration but its own.

mod change;
mod command;
mod committer;
mod config;
mod conversation;
mod error;
mod fast_import;
mod history;
mod index;
mod memory;
mod open;
mod report;
mod repository;
mod target;
#[cfg(test)]
mod tests;
mod verifier;

pub(crate) use change::{Change, CommitId};
pub(crate) use config::{RepositoryConfig, is_branch, is_path};
pub(crate) use error::{CommitError, OpenError, VerifyError};
pub(crate) use report::{Committed, Report};
pub(crate) use repository::{Repository, RepositoryTasks};
pub(crate) use target::Target;
