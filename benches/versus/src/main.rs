//! headworks and its peers, interleaved in one process.
//!
//! `cargo run --release --manifest-path benches/versus/Cargo.toml -- [ROOM | ROOM/GROUP]… [--rounds N] [--quick]`
//!
//! Prints tab-separated rows `id  ours  unit  peer  theirs  ratio  ratio_q1  ratio_q3`: the medians
//! of both, and the median and quartiles of ours/theirs taken round by round. Lower is better.

mod alloc;
mod cache;
mod child;
mod circuit_breaker;
mod clock;
mod harness;
mod http_transport;
#[cfg(feature = "json")]
mod json;
mod object_pool;
mod pin;
mod pipeline;
mod rate_limit;
mod retry;
mod semaphore;
mod worker_pool;

use std::process::ExitCode;

use harness::Effort;

type Room = (&'static str, fn(Effort));

const ROOMS: &[Room] = &[
    ("worker_pool/submit", worker_pool::submit),
    ("worker_pool/run", worker_pool::run),
    ("worker_pool/edges", worker_pool::edges::run),
    ("worker_pool/depth", worker_pool::depth::run),
    ("worker_pool/memory", worker_pool::memory::run),
    ("worker_pool/flood", worker_pool::flood::run),
    ("worker_pool/timing", worker_pool::timing::run),
    ("worker_pool/work", worker_pool::work::run),
    ("worker_pool/urgent", worker_pool::urgent::run),
    ("semaphore", semaphore::run),
    ("rate_limit/calls", rate_limit::run),
    ("rate_limit/keys", rate_limit::keys::run),
    ("circuit_breaker/calls", circuit_breaker::run),
    ("circuit_breaker/faults", circuit_breaker::faults::run),
    ("retry/run", retry::run),
    ("retry/stack", retry::stack),
    ("retry/hedging", retry::hedging::run),
    ("object_pool", object_pool::run),
    ("cache", cache::run),
    ("http_transport", http_transport::run),
    #[cfg(feature = "json")]
    ("json", json::run),
    ("pipeline/passes", pipeline::passes),
    ("pipeline/keys", pipeline::keys),
    ("pipeline/memory", pipeline::memory),
    ("pipeline/ladder", pipeline::ladder),
    ("pipeline/goodput", pipeline::goodput),
];

const USAGE: &str = "usage: versus [ROOM | ROOM/GROUP]… [--rounds N] [--quick]
  rooms: worker_pool (submit, run, edges, depth, memory, flood, timing, work, urgent),
    semaphore, rate_limit (calls, keys), circuit_breaker (calls, faults),
    retry (run, stack, hedging), object_pool, cache, http_transport, json (with `--features json`),
    pipeline (passes, keys, memory, ladder, goodput)
  no room    all of them
  --rounds N interleaved rounds a row (default 15)
  --quick    3 short rounds: shows that it runs, measures nothing";

fn main() -> ExitCode {
    if child::was_asked() {
        return ExitCode::SUCCESS;
    }
    match parse(std::env::args().skip(1)) {
        Ok((rooms, effort)) => {
            harness::header();
            for (_, run) in rooms {
                run(effort);
            }
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: impl Iterator<Item = String>) -> Result<(Vec<Room>, Effort), String> {
    let mut args = args;
    let mut rooms = Vec::new();
    let mut effort = Effort::FULL;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => effort = Effort::QUICK,
            "--rounds" => {
                let rounds = args.next().and_then(|rounds| rounds.parse().ok());
                effort.rounds =
                    rounds.filter(|&rounds| rounds > 0).ok_or("--rounds takes a number above 0")?;
            }
            name => {
                let before = rooms.len();
                let part = |room: &str| room.split_once('/').is_some_and(|(room, _)| room == name);
                rooms.extend(ROOMS.iter().filter(|(room, _)| *room == name || part(room)));
                if rooms.len() == before {
                    return Err(format!("no such room or flag: {name}"));
                }
            }
        }
    }
    if rooms.is_empty() {
        rooms.extend(ROOMS);
    }
    Ok((rooms, effort))
}
