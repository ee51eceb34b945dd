//! Against real servers, and for real clients. `tests/with-services.sh` starts them and runs this.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "services/intake.rs"]
mod intake;

use headworks::http_transport::{CloseReason, PoolCounts, TransportConfig};
use headworks::{Transport, TransportError, TransportFactory};
use http::StatusCode;
use tokio::task::JoinSet;

/// `None`: no server was started, and nobody insists.
fn nginx(path: &str) -> Option<String> {
    match std::env::var("HEADWORKS_NGINX") {
        Ok(address) => Some(format!("http://{address}{path}")),
        Err(_) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs tests/with-services.sh");
            eprintln!("HEADWORKS_NGINX is not set: passed over");
            None
        }
    }
}

fn transport() -> Transport {
    let config = TransportConfig::default().with_open_per_host(10).with_idle_per_host(10);
    TransportFactory::new().unwrap().transport(config).unwrap()
}

async fn get(transport: &Transport, url: &str) -> Result<(StatusCode, usize), TransportError> {
    let answer = transport.get(url).await?;
    let status = answer.status();
    Ok((status, answer.into_body().bytes(16 << 20).await?.len()))
}

fn counts(transport: &Transport) -> PoolCounts {
    transport.snapshot().in_all
}

/// nginx ends each connection after its hundredth request, and says so in the answer.
#[tokio::test]
#[ignore = "needs nginx"]
async fn a_thousand_requests_use_ten_connections_of_a_hundred_each() {
    let Some(url) = nginx("/small") else { return };
    let transport = transport();
    for _ in 0..1_000 {
        assert_eq!(get(&transport, &url).await.unwrap(), (StatusCode::OK, 2));
    }
    let counts = counts(&transport);
    assert_eq!((counts.opened, counts.reused), (10, 990), "{counts:?}");
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn many_callers_stay_within_the_cap_while_the_server_ends_connections() {
    let Some(url) = nginx("/small") else { return };
    let transport = transport();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (transport, url) = (transport.clone(), url.clone());
        callers.spawn(async move {
            for _ in 0..50 {
                assert_eq!(get(&transport, &url).await.unwrap(), (StatusCode::OK, 2));
                assert!(counts(&transport).open() <= 10);
            }
        });
    }
    callers.join_all().await;
    let counts = counts(&transport);
    assert!((50..=70).contains(&counts.opened), "5,000 requests, 100 a connection: {counts:?}");
}

/// The server's own idle timeout is one second: it closes first, and the pool notices by itself.
#[tokio::test]
#[ignore = "needs nginx"]
async fn a_connection_that_the_server_lets_time_out_leaves_the_pool() {
    let Some(url) = nginx("/brief") else { return };
    let transport = transport();
    assert_eq!(get(&transport, &url).await.unwrap(), (StatusCode::OK, 5));
    let gone = async {
        while counts(&transport).closed.of(CloseReason::ByPeer) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("never noticed");
    assert_eq!(counts(&transport).idle, 0);
    assert_eq!(get(&transport, &url).await.unwrap(), (StatusCode::OK, 5));
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn a_large_body_comes_whole_and_one_that_is_dropped_costs_its_connection() {
    let Some(url) = nginx("/large") else { return };
    let transport = transport();
    for _ in 0..3 {
        assert_eq!(get(&transport, &url).await.unwrap(), (StatusCode::OK, 8 << 20));
    }
    assert_eq!(counts(&transport).opened, 1);
    drop(transport.get(&url).await.unwrap());
    assert_eq!(get(&transport, &url).await.unwrap(), (StatusCode::OK, 8 << 20));
    assert_eq!(counts(&transport).opened, 2);
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn what_is_not_there_is_a_404_and_keeps_the_connection() {
    let Some(url) = nginx("/none") else { return };
    let transport = transport();
    for _ in 0..3 {
        assert_eq!(get(&transport, &url).await.unwrap().0, StatusCode::NOT_FOUND);
    }
    let error = transport.post_json::<_, ()>(&url, "?").await.unwrap_err();
    assert!(matches!(error, TransportError::Status { status: StatusCode::NOT_FOUND, .. }));
    assert_eq!(counts(&transport).opened, 1);
}
