//! A hundred requests in a row, then twenty at once, and what the pool says about them.
//!
//! `cargo run --example http_transport --features http`
#![allow(clippy::unwrap_used, reason = "an example stops where it fails")]

use headworks::http_transport::{Preset, TransportConfig};
use headworks::{Transport, TransportError, TransportFactory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A stand-in for a backend: answers whatever comes in.
async fn serve(listener: TcpListener) {
    let mut peers = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        peers.spawn(async move {
            let mut request = [0; 4_096];
            // Requests without a body come in one piece.
            while matches!(stream.read(&mut request).await, Ok(1..)) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn get(transport: &Transport, url: &str) -> Result<(), TransportError> {
    let body = transport.get(url).await?.into_body().bytes(1_024).await?;
    assert_eq!(body, "hello");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(serve(listener));

    let config = TransportConfig::from(Preset::HighThroughput).with_name("backend");
    let transport = TransportFactory::new()?.transport(config)?;
    for _ in 0..100 {
        get(&transport, &url).await?;
    }
    println!("after 100 in a row: {} connection", transport.snapshot().in_all.opened);
    assert_eq!(transport.snapshot().in_all.opened, 1);

    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (transport, url) = (transport.clone(), url.clone());
        callers.spawn(async move { get(&transport, &url).await });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let snapshot = transport.snapshot();
    let host = &snapshot.hosts[0];
    println!("{}: {:#?}", host.host, host.counts);
    println!("reused: {:.0} %", host.counts.reuse_ratio().unwrap_or(0.0) * 100.0);
    println!("first byte: {:?}", host.timings.first_byte);
    for metric in host.metrics() {
        println!("{} {:?}", metric.name, metric.value);
    }
    server.abort();
    Ok(())
}
