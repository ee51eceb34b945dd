//! What the snapshot says, and connections that are saved from answers nobody wants.

use std::time::Duration;

use headworks::http_transport::{
    CloseReason, Metric, MetricValue, TransportConfig, TransportError,
};

use crate::server::{Peer, Server, at_rest, counts, patiently, transport, until};

#[tokio::test]
async fn the_snapshot_tells_each_host_and_all_of_them() {
    let (first, second) = (Server::answering().await, Server::answering().await);
    let transport = transport(TransportConfig::default().with_open_per_host(1));
    for (server, times) in [(&first, 4), (&second, 1)] {
        for _ in 0..times {
            transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
        }
    }
    // One more that has to wait for the connection.
    let holder = transport.get(first.url("/")).await.unwrap();
    let waiting = {
        let (transport, url) = (transport.clone(), first.url("/"));
        tokio::spawn(async move { transport.get(url).await.unwrap().into_body().bytes(10).await })
    };
    until(|| counts(&transport).waiting == 1).await;
    holder.into_body().bytes(10).await.unwrap();
    patiently(waiting).await.unwrap().unwrap();
    at_rest(&transport).await;

    let all = transport.snapshot();
    let (one, other) = (&all.hosts[0], &all.hosts[1]);
    assert_eq!((one.counts.opened, one.counts.reused), (1, 5));
    assert_eq!(one.counts.reuse_ratio(), Some(5.0 / 6.0));
    assert_eq!(other.counts.reuse_ratio(), Some(0.0));
    assert_eq!(all.in_all.reuse_ratio(), Some(5.0 / 7.0));
    for (timings, requests, dials) in
        [(&one.timings, 6, 1), (&other.timings, 1, 1), (&all.timings, 7, 2)]
    {
        assert_eq!(timings.first_byte.count(), requests);
        assert_eq!((timings.dial.count(), timings.tls.count()), (dials, 0));
        assert!(timings.dial.quantile(0.5) > Some(Duration::ZERO));
        assert!(timings.first_byte.sum() < Duration::from_secs(20));
    }
    assert_eq!((one.timings.wait.count(), other.timings.wait.count()), (1, 0));
    assert_eq!((one.max_connections, all.max_connections), (1, 1_000));
}

#[tokio::test]
async fn metrics_have_the_documented_names() {
    let server = Server::answering().await;
    let transport = transport(TransportConfig::default());
    assert_eq!(transport.snapshot().in_all.reuse_ratio(), None);
    for _ in 0..3 {
        transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
    }
    at_rest(&transport).await;
    let snapshot = transport.snapshot();
    let number = |metrics: &[Metric<'_>], name: &str| {
        let found = metrics.iter().filter(|it| it.name == name).map(|it| match it.value {
            MetricValue::Counter(n) | MetricValue::Gauge(n) => n,
            MetricValue::Histogram(histogram) => histogram.count(),
        });
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]
    };
    let of_host: Vec<_> = snapshot.hosts[0].metrics().collect();
    let in_all: Vec<_> = snapshot.metrics().collect();
    assert_eq!(number(&of_host, "http_client_idle_connections_per_host"), 1);
    assert_eq!(number(&of_host, "http_client_active_connections"), 0);
    assert_eq!(number(&of_host, "http_client_max_connections"), 100);
    assert_eq!(number(&in_all, "http_client_max_connections"), 1_000);
    assert_eq!(number(&in_all, "http_client_connections_opened_total"), 1);
    assert_eq!(number(&in_all, "http_client_connections_reused_total"), 2);
    assert_eq!(number(&in_all, "http_client_first_byte_seconds"), 3);
    let mut names: Vec<_> = in_all.iter().map(|it| it.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), in_all.len(), "each once");
}

/// Says it all at once, and answers again on the same connection.
async fn long_winded(answer: String) -> Server {
    Server::running(move |mut peer: Peer| {
        let answer = answer.clone();
        async move { while peer.request().await.is_some() && peer.write(&answer).await {} }
    })
    .await
}

#[tokio::test]
async fn a_little_that_nobody_reads_costs_no_connection() {
    let chunks = "1000\r\n".to_owned() + &"x".repeat(4_096) + "\r\n0\r\n\r\n";
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000)),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
    ] {
        let server = long_winded(answer).await;
        let transport = transport(TransportConfig::default());
        for _ in 0..5 {
            drop(patiently(transport.get(server.url("/"))).await.unwrap());
            let mut body = patiently(transport.get(server.url("/"))).await.unwrap().into_body();
            body.chunk().await.unwrap().unwrap();
            drop(body);
            at_rest(&transport).await;
        }
        let counts = at_rest(&transport).await;
        assert_eq!((counts.idle as u64, counts.closed.total()), (counts.opened, 0), "{counts:?}");
        assert!(counts.opened <= 2, "the next request may come while it is read: {counts:?}");
    }
}

#[tokio::test]
async fn more_than_that_is_not_read() {
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = Server::running(move |mut peer: Peer| async move {
        peer.request().await;
        peer.write(endless).await;
        while peer.write(format!("1000\r\n{}\r\n", "x".repeat(4_096))).await {}
    })
    .await;
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
    for server in [server, long_winded(long).await] {
        let transport = transport(TransportConfig::default());
        drop(patiently(transport.get(server.url("/"))).await.unwrap());
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.closed.of(CloseReason::Abandoned)), (0, 1));
    }
}

/// A body that stands still holds its place for a second at most.
#[tokio::test]
async fn a_rest_that_does_not_come_is_not_waited_for() {
    let server = long_winded("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_owned()).await;
    let transport = transport(TransportConfig::default().with_open_per_host(1));
    drop(patiently(transport.get(server.url("/"))).await.unwrap());
    assert_eq!(counts(&transport).active, 1, "it is still being read");
    let counts = at_rest(&transport).await;
    assert_eq!((counts.open(), counts.closed.of(CloseReason::Abandoned)), (0, 1));
}

#[tokio::test]
async fn a_body_has_a_limit_however_it_is_read() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n2\r\nty\r\n0\r\n\r\n";
    for (answer, most, well) in [
        (chunked, Some(6), true),
        (chunked, Some(5), false),
        (chunked, None, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfourty", Some(5), false),
    ] {
        let server = long_winded(answer.to_owned()).await;
        let transport = transport(TransportConfig::default().with_max_body_bytes(most));
        let mut body = patiently(transport.get(server.url("/"))).await.unwrap().into_body();
        let mut read = Ok(());
        while let Some(chunk) = patiently(body.chunk()).await {
            read = chunk.map(drop);
        }
        assert_eq!(read.is_ok(), well, "{most:?}: {read:?}");
        if let Err(error) = read {
            assert!(matches!(error, TransportError::BodyTooLarge { limit_bytes: 5 }), "{error:?}");
        }
        assert_eq!(at_rest(&transport).await.open(), usize::from(well));
    }
}
