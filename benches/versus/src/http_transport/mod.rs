//! The rows of the HTTP transport: `GET`s of 2 KiB over loopback from a server in another process.
//! The floor is hyper's connections held by hand, one for each caller.

mod contestant;
pub mod server;

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::clock::Stretch;
use crate::harness::{Contestant, Effort, Measure, contest};
use contestant::{Caller, HyperUtil, Ours, Raw, Reqwest};
use server::{BYTES, Server};

const TIMES: [Measure; 2] = [
    Measure { suffix: "/wall", unit: "us/request" },
    Measure { suffix: "/cpu", unit: "us of client CPU/request" },
];

const HERD: [Measure; 2] = [
    Measure { suffix: "/first", unit: "connections opened" },
    Measure { suffix: "/again", unit: "connections opened" },
];

/// Callers that all come at once.
const COLD: usize = 500;

pub fn run(effort: Effort) {
    let server = Server::start();
    for callers in [1, 50] {
        let requests = effort.ops(if callers == 1 { 4_000 } else { 20_000 });
        let entries = vec![
            steady::<Ours>(&server, callers, requests),
            steady::<Raw>(&server, callers, requests),
            steady::<HyperUtil>(&server, callers, requests),
            steady::<Reqwest>(&server, callers, requests),
        ];
        contest(&format!("http_transport/h1/{callers}_callers"), &TIMES, effort, entries);
    }
    let entries = vec![cold::<Ours>(&server), cold::<HyperUtil>(&server), cold::<Reqwest>(&server)];
    contest(&format!("http_transport/h1/{COLD}_cold_callers"), &HERD, effort, entries);
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// Callers that ask one request after the other, over connections that are there.
fn steady<C: Caller>(server: &Server, callers: usize, requests: usize) -> Contestant<'_> {
    let (runtime, each) = (runtime(), requests.div_ceil(callers));
    let client = Arc::new(runtime.block_on(C::new(server, callers)));
    runtime.block_on(herd(&client, callers, 5));
    Contestant::new(C::NAME, move || {
        let stretch = Stretch::start();
        runtime.block_on(herd(&client, callers, each));
        let all = (each * callers) as f64;
        vec![stretch.wall().as_secs_f64() * 1e6 / all, stretch.cpu_ns() / 1e3 / all]
    })
}

/// A new client, and so many callers at once; then once more.
fn cold<C: Caller>(server: &Server) -> Contestant<'_> {
    Contestant::new(C::NAME, move || {
        let runtime = runtime();
        let client = Arc::new(runtime.block_on(C::new(server, 0)));
        let opened = || {
            let before = server.opened();
            runtime.block_on(herd(&client, COLD, 1));
            (server.opened() - before) as f64
        };
        vec![opened(), opened()]
    })
}

async fn herd<C: Caller>(client: &Arc<C>, callers: usize, each: usize) {
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let client = Arc::clone(client);
        tasks.spawn(async move {
            for _ in 0..each {
                assert_eq!(client.get(caller).await, BYTES);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a caller ends");
    }
}
