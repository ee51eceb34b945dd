//! The rows of the HTTP transport: `GET`s of 2 KiB over loopback from a server in another process.
//! The floor is hyper's connections held by hand, one for each caller, or one for all over HTTP/2.

mod contestant;
pub mod server;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::alloc::Count;
use crate::clock::Stretch;
use crate::harness::{Contestant, Effort, Measure, contest, quantile};
use contestant::{Caller, HyperUtil, Ours, Raw, Reqwest, Setting, Speaks};
use server::{BYE, BYTES, DELAY, FICKLE, SLOW, Server};

const STEADY: [Measure; 4] = [
    Measure { suffix: "/wall", unit: "us/request" },
    Measure { suffix: "/cpu", unit: "us of client CPU/request" },
    Measure { suffix: "/p99", unit: "us" },
    Measure { suffix: "/allocations", unit: "allocations/request" },
];

const HERD: [Measure; 2] = [
    Measure { suffix: "/first", unit: "connections opened" },
    Measure { suffix: "/again", unit: "connections opened" },
];

/// Then the server ends all connections, and they come again.
const TLS: [Measure; 4] = [
    Measure { suffix: "/opened", unit: "connections opened" },
    Measure { suffix: "/handshakes", unit: "handshakes" },
    Measure { suffix: "/again_full", unit: "full handshakes" },
    Measure { suffix: "/again_resumed", unit: "resumed handshakes" },
];

const ROUND_TRIP: [Measure; 2] = [
    Measure { suffix: "/cold", unit: "round trips" },
    Measure { suffix: "/warm", unit: "round trips" },
];

const REUSE: [Measure; 3] = [
    Measure { suffix: "/errors", unit: "errors seen" },
    Measure { suffix: "/opened", unit: "connections opened" },
    Measure { suffix: "/not_reused", unit: "per million requests" },
];

pub fn run(effort: Effort) {
    let server = Server::start();
    for (speaks, name) in [(Speaks::H1, "h1"), (Speaks::H2, "h2")] {
        for callers in [1, 50, 500] {
            let setting = Setting { server: &server, speaks, path: "/", callers };
            let requests = effort.ops(if callers == 1 { 4_000 } else { 20_000 });
            let entries = vec![
                steady::<Ours>(setting, requests),
                steady::<Raw>(setting, requests),
                steady::<HyperUtil>(setting, requests),
                steady::<Reqwest>(setting, requests),
            ];
            contest(&format!("http_transport/{name}/{callers}_callers"), &STEADY, effort, entries);
            if speaks == Speaks::H1 {
                scale(&server, callers);
            }
        }
    }
    for callers in [500, 1_000] {
        let setting = Setting { server: &server, speaks: Speaks::H1, path: "/", callers };
        let id = format!("http_transport/h1/{callers}_cold_callers");
        contest(
            &id,
            &HERD,
            effort,
            peers(setting, cold::<Ours>, cold::<HyperUtil>, cold::<Reqwest>),
        );
    }
    let setting = Setting { server: &server, speaks: Speaks::H1Tls, path: "/", callers: 50 };
    let id = "http_transport/h1_tls/50_callers";
    contest(id, &TLS, effort, peers(setting, tls::<Ours>, tls::<HyperUtil>, tls::<Reqwest>));
    let setting = Setting { server: &server, speaks: Speaks::H1, path: SLOW, callers: 20 };
    let id = "http_transport/h1/20_callers_at_once";
    let entries = peers(setting, at_once::<Ours>, at_once::<HyperUtil>, at_once::<Reqwest>);
    contest(id, &ROUND_TRIP, effort, entries);
    let setting = Setting { server: &server, speaks: Speaks::H1, path: FICKLE, callers: 50 };
    reuse(setting, effort);
}

/// What a client written in C makes of the same server, where there is one: for scale, since it is
/// no library and reads no answer.
fn scale(server: &Server, callers: usize) {
    let url = server.url("/").to_string();
    let connections = format!("-c{callers}");
    let said = Command::new("wrk").args(["-t1", "-d2s", &*connections, &*url]).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = said.ok().and_then(|said| {
        said.lines().find_map(|line| Some(line.strip_prefix("Requests/sec:")?.trim().to_owned()))
    });
    match line {
        Some(per_second) => println!("# wrk, {callers} connections: {per_second} requests/s"),
        None => println!("# wrk, {callers} connections: it is not installed"),
    }
}

type Make<'a> = fn(Setting<'a>) -> Contestant<'a>;

fn peers<'a>(
    setting: Setting<'a>,
    ours: Make<'a>,
    hyper_util: Make<'a>,
    reqwest: Make<'a>,
) -> Vec<Contestant<'a>> {
    vec![ours(setting), hyper_util(setting), reqwest(setting)]
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// Callers that ask one request after the other, over connections that are there.
fn steady<C: Caller>(setting: Setting<'_>, requests: usize) -> Contestant<'_> {
    let callers = setting.callers;
    let (runtime, each) = (runtime(), requests.div_ceil(callers));
    let client = Arc::new(runtime.block_on(C::new(&setting)));
    runtime.block_on(herd(&client, callers, 5));
    Contestant::new(C::NAME, move || {
        let stretch = Stretch::start();
        let done = runtime.block_on(herd(&client, callers, each));
        let (wall, cpu) = (stretch.wall(), stretch.cpu_ns());
        assert_eq!(done.errors, 0, "a healthy server");
        let all = (each * callers) as f64;
        // Counting costs time: apart from what is timed, and less of it.
        let each = each.div_ceil(4);
        let count = Count::start();
        runtime.block_on(herd(&client, callers, each));
        let allocations = count.stop().allocations as f64 / (each * callers) as f64;
        let p99 = quantile(&done.took_us, 0.99);
        vec![wall.as_secs_f64() * 1e6 / all, cpu / 1e3 / all, p99, allocations]
    })
}

/// A new client, and all callers at once; then once more.
fn cold<C: Caller>(setting: Setting<'_>) -> Contestant<'_> {
    Contestant::new(C::NAME, move || {
        let runtime = runtime();
        let client = Arc::new(runtime.block_on(C::new(&setting)));
        let opened = || {
            let before = setting.server.counts().opened;
            runtime.block_on(herd(&client, setting.callers, 1));
            (setting.server.counts().opened - before) as f64
        };
        vec![opened(), opened()]
    })
}

/// A new client; when its connections have been ended by the server, it dials again.
fn tls<C: Caller>(setting: Setting<'_>) -> Contestant<'_> {
    Contestant::new(C::NAME, move || {
        let (runtime, server) = (runtime(), setting.server);
        let client = runtime.block_on(C::new(&setting));
        let bye = Arc::new(client.at(&setting, BYE).expect("it can ask for anything"));
        let client = Arc::new(client);
        let before = server.counts();
        runtime.block_on(herd(&client, setting.callers, 20));
        let first = server.counts();
        runtime.block_on(herd(&bye, setting.callers, 1));
        let ended = server.counts();
        runtime.block_on(herd(&client, setting.callers, 20));
        let again = server.counts();
        vec![
            (first.opened - before.opened) as f64,
            (first.full + first.resumed - before.full - before.resumed) as f64,
            (again.full - ended.full) as f64,
            (again.resumed - ended.resumed) as f64,
        ]
    })
}

/// All callers at once, cold and then warm, in times of what the server takes for one.
fn at_once<C: Caller>(setting: Setting<'_>) -> Contestant<'_> {
    Contestant::new(C::NAME, move || {
        let runtime = runtime();
        let client = Arc::new(runtime.block_on(C::new(&setting)));
        let round_trips = || {
            let stretch = Stretch::start();
            runtime.block_on(herd(&client, setting.callers, 1));
            stretch.wall().as_secs_f64() / DELAY.as_secs_f64()
        };
        vec![round_trips(), round_trips()]
    })
}

/// A million requests, once: the server ends connections as it likes.
fn reuse(setting: Setting<'_>, effort: Effort) {
    let each = effort.ops(1_000_000).div_ceil(setting.callers);
    let once = Effort { rounds: 1, ..effort };
    let entries = vec![
        million::<Ours>(setting, each),
        million::<HyperUtil>(setting, each),
        million::<Reqwest>(setting, each),
    ];
    contest("http_transport/h1/reuse", &REUSE, once, entries);
}

fn million<C: Caller>(setting: Setting<'_>, each: usize) -> Contestant<'_> {
    let runtime = runtime();
    let client = Arc::new(runtime.block_on(C::new(&setting)));
    let mut is_warm = false;
    Contestant::new(C::NAME, move || {
        // The harness takes a first sample that it forgets.
        let each = if std::mem::replace(&mut is_warm, true) { each } else { each.div_ceil(100) };
        let before = setting.server.counts().opened;
        let errors = runtime.block_on(herd(&client, setting.callers, each)).errors;
        let opened = (setting.server.counts().opened - before) as f64;
        vec![errors as f64, opened, opened * 1e6 / (each * setting.callers) as f64]
    })
}

struct Done {
    took_us: Vec<f64>,
    errors: usize,
}

async fn herd<C: Caller>(client: &Arc<C>, callers: usize, each: usize) -> Done {
    let mut tasks = JoinSet::new();
    let errors = Arc::new(AtomicUsize::new(0));
    for caller in 0..callers {
        let (client, errors) = (Arc::clone(client), Arc::clone(&errors));
        tasks.spawn(async move {
            let mut took_us = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                match client.get(caller).await {
                    Some(bytes) => assert_eq!(bytes, BYTES),
                    None => _ = errors.fetch_add(1, Relaxed),
                }
                took_us.push(began.elapsed().as_secs_f64() * 1e6);
            }
            took_us
        });
    }
    let mut took_us = Vec::with_capacity(callers * each);
    while let Some(ended) = tasks.join_next().await {
        took_us.extend(ended.expect("a caller ends"));
    }
    Done { took_us, errors: errors.load(Relaxed) }
}
