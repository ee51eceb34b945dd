//! A complete small operator around an embedded `IntentPipeline`, to be copied from.
//!
//! `cargo run --release --example operator --features full`
//!
//! It reads intents from a folder, has an LLM turn each into an answer, plans resources, renders
//! manifests, commits them to git and reads them back. In the order of the way of one intent:
//!
//! - [`reader`] takes the files of a [`folder`], finds the [`document`]s of its [`language`] in each
//!   as a [`value`], and decodes them by their [`formats`] into an [`intent`], or says what
//!   [`problem`] they have;
//! - [`submit`] keeps so many in its [`hands`], and hands each to the pipeline that [`parts`] has
//!   put together, for one run of the [`operator`];
//! - or a [`service`] runs on, and takes what its [`intake`] makes of the files of a watched folder,
//!   and of requests, for those whose [`tokens`] it knows;
//! - [`phases`] carry it: [`ask`] with a [`prompt`] for an [`answer`], [`plan`] within the author's
//!   bounds, [`manifests`], and a commit by [`git`];
//! - [`tally`] counts how it ended, with a [`failure`] if it did not end well, and [`summary`]
//!   tells; of a service [`stopped`] does, and while it runs its [`exporter`].
//!
//! [`settings`] come from a file, the environment and the [command line](cli).
//!
//! [`llm`] is a stand-in for the model's server; with `--llm-url` a real one is asked.

mod answer;
mod ask;
mod chance;
mod cli;
mod clock;
mod content;
mod dates;
mod document;
mod exporter;
mod failure;
mod folder;
mod formats;
mod generate;
mod git;
mod hands;
mod intake;
mod intent;
mod language;
mod latency;
mod listener;
mod llm;
mod manifests;
mod names;
mod operator;
mod parts;
mod phases;
mod plan;
mod problem;
mod progress;
mod prompt;
mod reader;
#[cfg(test)]
mod samples;
mod service;
mod settings;
mod start_error;
mod stopped;
mod submit;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
mod tokens;
mod value;
mod yaml;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

#[cfg(unix)]
use tokio::signal::unix::SignalKind;

use crate::cli::Options;
use crate::problem::with_causes;
use crate::progress::Progress;
use crate::service::Service;
use crate::settings::SettingsError;
use crate::start_error::StartError;
use crate::tally::Tally;

#[tokio::main]
async fn main() -> ExitCode {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    let options = match settings::read(std::env::args_os(), environment) {
        Ok(options) => options,
        Err(SettingsError::Args(error)) => error.exit(),
        Err(error) => {
            eprintln!("operator: {}", with_causes(&error));
            return ExitCode::from(2);
        }
    };
    tokio::select! { biased;
        ended = run(&options) => ended.unwrap_or_else(|error| not_begun(&options, &error)),
        () = asked_twice() => ExitCode::from(130),
    }
}

fn not_begun(options: &Options, error: &StartError) -> ExitCode {
    let said = error.field().and_then(|field| options.rooms.said_by(options, field));
    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
    eprintln!("operator: {}{said}", with_causes(error));
    ExitCode::from(if error.is_usage() { 2 } else { 1 })
}

async fn run(options: &Options) -> Result<ExitCode, StartError> {
    match options.runs_on() {
        true => run_on(options).await,
        false => run_once(options).await,
    }
}

/// Until every document has ended.
async fn run_once(options: &Options) -> Result<ExitCode, StartError> {
    let progress = Progress::start(options.generate);
    let summary = operator::run(options, asked_to_stop(options), progress).await?;
    if summary.tally.has_nothing_to_do() {
        eprintln!("warning: {}", nothing_to_do(&options.intents, &summary.tally));
    }
    let text = if options.json { format!("{}\n", summary.json()) } else { summary.text() };
    Ok(print(&text, summary.is_clean()))
}

/// Until somebody asks to stop.
async fn run_on(options: &Options) -> Result<ExitCode, StartError> {
    let mut stop = pin!(asked_to_stop(options));
    // Asked before it has begun, it has nothing to finish.
    let service = tokio::select! { biased;
        () = &mut stop => return Ok(ExitCode::SUCCESS),
        started = Service::start(options) => started?,
    };
    eprintln!("operator: {service}");
    stop.await;
    let stopped = service.stop().await;
    let text = if options.json { format!("{}\n", stopped.json()) } else { stopped.text() };
    Ok(print(&text, stopped.is_clean()))
}

/// A reader who has read enough (`| head`) is no error.
fn print(text: &str, is_clean: bool) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("operator: cannot print the summary: {error}");
            ExitCode::FAILURE
        }
        _ if is_clean => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn nothing_to_do(place: &Path, tally: &Tally) -> String {
    let place = place.display();
    match tally.skipped.len() {
        0 => format!("{place} is empty (names that begin with a dot are not looked at)"),
        skipped => format!("{place} holds no intent; {skipped} skipped"),
    }
}

/// The first Ctrl-C or SIGTERM: finish what is in progress.
async fn asked_to_stop(options: &Options) {
    asked().await;
    eprintln!("draining for at most {:?} (--drain); Ctrl-C again stops at once", options.drain);
}

/// The second: don't.
async fn asked_twice() {
    asked().await;
    asked().await;
}

/// Ctrl-C, or the SIGTERM by which a pod is stopped.
async fn asked() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(SignalKind::terminate()) {
        return tokio::select! {
            biased;
            _ = terminate.recv() => {}
            () = ctrl_c() => {}
        };
    }
    ctrl_c().await;
}

async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Nobody can ask here.
        std::future::pending().await
    }
}
