//! One `GET` of 2 KiB over loopback; the server shares the process and the machine.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench stops where it fails, and times"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use headworks::http_transport::TransportConfig;
use headworks::{Transport, TransportFactory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Answers whatever comes in with 2 KiB: requests without a body come in one piece.
async fn serve(listener: TcpListener) {
    let mut peers = JoinSet::new();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n{}", "x".repeat(2_048));
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let answer = answer.clone();
        peers.spawn(async move {
            let mut request = [0; 4_096];
            while matches!(stream.read(&mut request).await, Ok(1..)) {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn get(transport: &Transport, url: &http::Uri) {
    let answer = transport.get(url).await.unwrap();
    black_box(answer.into_body().bytes(4_096).await.unwrap());
}

/// `each` requests by every one of `callers`; how long all took together.
async fn herd(transport: &Transport, url: &http::Uri, callers: u64, each: u64) -> Duration {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (transport, url) = (transport.clone(), url.clone());
        tasks.spawn(async move {
            for _ in 0..each {
                get(&transport, &url).await;
            }
        });
    }
    tasks.join_all().await;
    began.elapsed()
}

fn h1(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url: http::Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let server = runtime.spawn(serve(listener));
    let config = TransportConfig::default().with_idle_per_host(100);
    let transport = TransportFactory::new().unwrap().transport(config).unwrap();
    for callers in [1, 50] {
        c.bench_function(&format!("http_transport/get/2KiB/{callers}"), |bencher| {
            bencher.iter_custom(|times| {
                let each = times.div_ceil(callers);
                let took = runtime.block_on(herd(&transport, &url, callers, each));
                // Per request, as if exactly `times` had been made.
                took.mul_f64(times as f64 / (each * callers) as f64)
            });
        });
    }
    println!("{:?}", transport.snapshot().in_all);
    server.abort();
}

criterion_group!(benches, h1);
criterion_main!(benches);
