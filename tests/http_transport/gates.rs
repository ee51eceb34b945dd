//! The gates that only some requests come to: the word that a body waits for, a proxy's tunnel, the
//! pause between two attempts, two attempts side by side. Whoever ends there leaves nothing behind.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headworks::http_transport::{
    Phase, Protocol, ProxyRules, Safeguards, SafeguardsConfig, TransportConfig,
};
use headworks::retry::{Backoff, HedgeConfig, RetryPolicy};
use http::Request;

use crate::ends::{ENDS, End, ends_at, get, in_time, one_place};
use crate::server::{OK, Peer, Server, at_rest, counts, until};

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(60);

/// The server has the head, and says nothing to it.
#[tokio::test]
async fn at_the_word_that_the_body_waits_for() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let config = TransportConfig::default().with_expect_continue_above(Some(1));
        let transport = one_place(config.with_expect_continue_wait(LONG), end);
        let request = Request::post(server.url("/")).body("a body").unwrap();
        let sender = transport.clone();
        let call = async move { sender.send(request).await.map(drop) };
        let mut peer = None;
        let gate = async {
            let accepted = server.accept().await;
            accepted.stream.peek(&mut [0]).await.unwrap();
            peer = Some(accepted);
        };
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Header), "{end:?}");
        let heard = peer.unwrap().rest().await;
        assert!(heard.contains("100-continue") && !heard.contains("a body"), "{heard}");
        assert_eq!(at_rest(&transport).await.open(), 0, "{end:?}");
    }
}

/// The proxy has been asked, and does not answer.
#[tokio::test]
async fn at_the_tunnel() {
    for end in ENDS {
        let proxy = Server::by_hand().await;
        let rules = ProxyRules::all(proxy.url("").parse().unwrap());
        let config = TransportConfig::default().with_proxy(rules.into());
        let transport = one_place(config.with_protocol(Protocol::Http2), end);
        let call = get(transport.clone(), "http://backend.invalid/".to_owned());
        let mut peer = None;
        let gate = async {
            let mut accepted = proxy.accept().await;
            assert!(accepted.request().await.unwrap().starts_with("CONNECT "));
            peer = Some(accepted);
        };
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Dial), "{end:?}");
        peer.unwrap().closed().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.opened), (0, 0), "{end:?}");
    }
}

/// The first attempt has failed, and the next is long away. (It would be past the time of the
/// whole, and so is not waited for: that way to end has no gate.)
#[tokio::test]
async fn at_the_pause_between_two_attempts() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    for end in [End::Dropped, End::Panicked] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let server = Server::running(move |mut peer: Peer| {
            let asked = Arc::clone(&counted);
            async move {
                while peer.request().await.is_some() && peer.write(BUSY).await {
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .await;
        // Some time up to that, by chance.
        let policy = RetryPolicy::default().with_backoff(Backoff::new(100 * LONG, 100 * LONG));
        let config = SafeguardsConfig::default().with_retry(Some(policy));
        let safeguards = Safeguards::new(config).unwrap();
        let patient = TransportConfig::default().with_total_timeout(500 * LONG);
        let transport = one_place(patient, end).with_safeguards(safeguards.clone());
        let call = get(transport.clone(), server.url("/"));
        let gate = until(|| {
            let rests = counts(&transport).idle == 1;
            asked.load(Ordering::SeqCst) == 1 && rests
        });
        assert_eq!(ends_at(call, end, gate).await, None, "{end:?}");
        let counts = at_rest(&transport).await;
        assert_eq!((counts.opened, counts.idle), (1, 1), "{end:?}: it lay idle meanwhile");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{end:?}");
        let retry = safeguards.snapshot()[0].retry.unwrap();
        assert_eq!((retry.retried, retry.recovered), (1, 0), "{end:?}: it waited");
    }
}

/// Both attempts are with the server, which answers neither.
#[tokio::test]
async fn at_two_attempts_side_by_side() {
    for end in ENDS {
        let (hangs, hanging) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&hangs), Arc::clone(&hanging));
        let server = Server::running(move |mut peer: Peer| {
            let (hangs, hanging) = (Arc::clone(&told), Arc::clone(&counted));
            async move {
                while peer.request().await.is_some() {
                    if hangs.load(Ordering::SeqCst) == 1 {
                        hanging.fetch_add(1, Ordering::SeqCst);
                        peer.closed().await;
                        hanging.fetch_sub(1, Ordering::SeqCst);
                        return;
                    }
                    peer.write(OK).await;
                }
            }
        })
        .await;
        let few = NonZeroU32::new(20).unwrap();
        let hedge = HedgeConfig::default().with_minimum_samples(few).with_extra_ratio(1.0);
        let config = SafeguardsConfig::default().with_hedge(Some(hedge));
        let safeguards = Safeguards::new(config).unwrap();
        let two = TransportConfig::default().with_open_per_host(2).with_open_overall(2);
        let two = match end {
            End::TimedOut => two.with_total_timeout(Duration::from_secs(3)),
            End::Dropped | End::Panicked => two,
        };
        let transport =
            crate::server::transport(two.with_drain_bytes(0)).with_safeguards(safeguards);
        for _ in 0..40 {
            get(transport.clone(), server.url("/")).await.unwrap();
        }
        hangs.store(1, Ordering::SeqCst);
        let call = get(transport.clone(), server.url("/"));
        let gate = until(|| hanging.load(Ordering::SeqCst) == 2);
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Header), "{end:?}");
        until(|| hanging.load(Ordering::SeqCst) == 0).await;
        assert_eq!(at_rest(&transport).await.open(), 0, "{end:?}: both are closed");
    }
}
