//! Every fault of network and server: an error of the right type in bounded time, nothing leaked,
//! and the pool answers as before once the fault is gone.

use std::time::Duration;

use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::{Protocol, TransportConfig, TransportError};

use crate::h2::serving;
use crate::proxy::{Fault, Proxy};
use crate::server::{Peer, Server, at_rest, patiently, transport};

const BODY: &str = include_str!("faults.rs");

fn body() -> &'static str {
    &BODY[..2_048]
}

/// Short enough for a test, and long enough for a machine that does other things as well: what is
/// not to time out takes a millisecond.
fn config(protocol: Protocol) -> TransportConfig {
    TransportConfig::default()
        .with_protocol(protocol)
        .with_dial_timeout(Duration::from_secs(1))
        .with_response_header_timeout(Duration::from_secs(1))
        .with_body_idle_timeout(Duration::from_secs(1))
        .with_total_timeout(Duration::from_secs(4))
        .with_open_per_host(2)
}

/// All of them together, and what a loaded machine may add.
const BOUND: Duration = Duration::from_secs(15);

async fn healthy(protocol: Protocol) -> Server {
    if protocol == Protocol::Http2 {
        return serving(100, |_, mut respond| async move {
            if let Ok(mut send) = respond.send_response(http::Response::new(()), false) {
                let _ = send.send_data(Bytes::from_static(body().as_bytes()), true);
            }
        })
        .await;
    }
    Server::running(|mut peer: Peer| async move {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n{}", body());
        while peer.request().await.is_some() && peer.write(&answer).await {}
    })
    .await
}

async fn get(transport: &Transport, proxy: &Proxy) -> Result<Bytes, TransportError> {
    patiently(async { transport.get(proxy.url()).await?.into_body().bytes(1 << 20).await }).await
}

/// What a request gets while the fault lasts; then the pool has to be whole.
async fn under(fault: Fault, protocol: Protocol) -> Result<Bytes, TransportError> {
    under_by(config(protocol), fault).await
}

async fn under_by(config: TransportConfig, fault: Fault) -> Result<Bytes, TransportError> {
    let protocol = config.protocol;
    let server = healthy(protocol).await;
    let proxy = Proxy::before(server.address, fault).await;
    let transport = transport(config);
    let result = tokio::time::timeout(BOUND, get(&transport, &proxy)).await;
    let result = result.unwrap_or_else(|_| panic!("{fault:?} takes too long"));
    let counts = at_rest(&transport).await;
    assert_eq!((counts.streams, counts.waiting), (0, 0), "{fault:?}");
    assert!(counts.open() == counts.idle, "{fault:?}: {counts:?}");
    // What is idle now may still be behind the fault: then it has to go by itself.
    proxy.now(Fault::None);
    for _ in 0..3 {
        let again = get(&transport, &proxy).await;
        if again.is_ok() {
            break;
        }
        assert!(result.is_ok(), "{fault:?}: then {again:?}");
    }
    assert_eq!(get(&transport, &proxy).await.unwrap(), body(), "{fault:?}");
    assert_eq!(at_rest(&transport).await.open(), at_rest(&transport).await.idle);
    result
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

#[tokio::test]
async fn slow_is_not_broken() {
    let pause = Duration::from_millis(1);
    for protocol in BOTH {
        for fault in [Fault::None, Fault::Latency(5 * pause), Fault::Bandwidth(64, pause)] {
            let patient = TransportConfig::default().with_protocol(protocol);
            let answer = under_by(patient, fault).await;
            assert_eq!(answer.unwrap(), body(), "{protocol:?}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn too_slow_ends_by_a_timeout() {
    for protocol in BOTH {
        // Enough that nothing ever stands still.
        let error = under(Fault::Bandwidth(32, Duration::from_millis(100)), protocol).await;
        let error = error.unwrap_err();
        let late = matches!(
            error,
            TransportError::TotalTimeout { .. }
                | TransportError::HeaderTimeout
                | TransportError::DialTimeout { .. }
                // A frame counts when it is whole.
                | TransportError::BodyIdleTimeout
        );
        assert!(late && error.is_retryable(), "{protocol:?}: {error:?}");
    }
}

/// Slow loris: the header comes byte by byte, and never to its end.
#[tokio::test]
async fn a_header_that_drips_ends_by_its_timeout() {
    let drip = Fault::Bandwidth(1, Duration::from_millis(100));
    let error = under(drip, Protocol::Http1).await.unwrap_err();
    assert!(matches!(error, TransportError::HeaderTimeout), "{error:?}");
    let error = under(drip, Protocol::Http2).await.unwrap_err();
    let late = matches!(error, TransportError::HeaderTimeout | TransportError::DialTimeout { .. });
    assert!(late, "{error:?}");
}

#[tokio::test]
async fn a_connection_that_ends_before_the_header_is_a_failed_send() {
    for fault in [Fault::Cut(0), Fault::Cut(20), Fault::Reset(0), Fault::HalfClose(20)] {
        let error = under(fault, Protocol::Http1).await.unwrap_err();
        assert!(matches!(error, TransportError::Send(_)), "{fault:?}: {error:?}");
        assert!(error.is_retryable());
    }
    for fault in [Fault::Cut(0), Fault::Reset(0), Fault::HalfClose(5)] {
        let error = under(fault, Protocol::Http2).await.unwrap_err();
        let failed = matches!(error, TransportError::Dial { .. } | TransportError::Send(_));
        assert!(failed && error.is_retryable(), "{fault:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_inside_the_body_is_closed_early() {
    for protocol in BOTH {
        for fault in [Fault::Cut(500), Fault::HalfClose(500), Fault::Reset(500)] {
            let error = under(fault, protocol).await.unwrap_err();
            let early = matches!(error, TransportError::ClosedEarly(_));
            // A reset may overtake what was sent before it.
            let overtaken = matches!(error, TransportError::Send(_) | TransportError::Dial { .. });
            let reset = matches!(fault, Fault::Reset(_));
            assert!(early || reset && overtaken, "{protocol:?}, {fault:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_black_hole_ends_by_the_timeout_of_its_phase() {
    for after in [0, 20] {
        let error = under(Fault::BlackHole(after), Protocol::Http1).await.unwrap_err();
        assert!(matches!(error, TransportError::HeaderTimeout), "{after}: {error:?}");
    }
    let error = under(Fault::BlackHole(0), Protocol::Http2).await.unwrap_err();
    assert!(matches!(error, TransportError::DialTimeout { .. }), "{error:?}");
    for protocol in BOTH {
        let error = under(Fault::BlackHole(500), protocol).await.unwrap_err();
        assert!(matches!(error, TransportError::BodyIdleTimeout), "{protocol:?}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_invalid_answer() {
    let wrong: [&[u8]; 6] = [
        b"\x16\x03\x01 what is this\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ];
    for bytes in wrong {
        let error = under(Fault::Instead(bytes), Protocol::Http1).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidAnswer(_)), "{bytes:?}: {error:?}");
    }
    // Over HTTP/2 it shows before the connection is open.
    let error = under(Fault::Instead(wrong[0]), Protocol::Http2).await.unwrap_err();
    assert!(matches!(error, TransportError::Dial { .. }), "{error:?}");
}

#[tokio::test]
async fn a_header_without_end_is_too_large() {
    let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
    for n in 0..10_000 {
        endless.extend(format!("x-{n}: yes\r\n").into_bytes());
    }
    let error = under(Fault::Instead(endless.leak()), Protocol::Http1).await.unwrap_err();
    assert!(matches!(error, TransportError::HeaderTooLarge), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_length_that_lies_is_found_out() {
    let long = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nshort";
    let error = under(Fault::Instead(long), Protocol::Http1).await.unwrap_err();
    assert!(matches!(error, TransportError::BodyIdleTimeout), "{error:?}");
    let error = under(Fault::InsteadAndClose(long), Protocol::Http1).await.unwrap_err();
    assert!(matches!(error, TransportError::ClosedEarly(_)), "{error:?}");
    let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n";
    let error = under(Fault::InsteadAndClose(half), Protocol::Http1).await.unwrap_err();
    assert!(matches!(error, TransportError::ClosedEarly(_)), "{error:?}");
    // What comes behind the end is nobody's answer, least of all the next request's.
    let more = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nsmuggled";
    assert_eq!(under(Fault::Instead(more), Protocol::Http1).await.unwrap(), "ok");
}
