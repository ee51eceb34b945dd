//! How many connections there are, and who gets the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use headworks::http_transport::{CloseReason, TransportConfig, TransportError};
use headworks::{Priority, Transport};
use http::Request;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

async fn get(transport: &Transport, url: String) -> Result<(), TransportError> {
    transport.get(url).await?.into_body().bytes(10).await.map(drop)
}

/// 500 callers, `url(n)` each; every one is answered.
async fn herd(transport: &Transport, url: impl Fn(usize) -> String, most_open: usize) {
    let mut callers = JoinSet::new();
    for n in 0..500 {
        let (transport, url) = (transport.clone(), url(n));
        callers.spawn(async move {
            get(&transport, url).await.unwrap();
            let open = counts(&transport).open();
            assert!(open <= most_open, "{open} open");
        });
    }
    assert_eq!(patiently(callers.join_all()).await.len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_cold_callers_stay_within_the_host_cap_and_open_nothing_again() {
    let most = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let server = Server::running(move |mut peer: Peer| {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while peer.request().await.is_some() && peer.write(OK).await {}
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let config = TransportConfig::default().with_open_per_host(50).with_idle_per_host(50);
    let transport = transport(config);
    for _ in 0..2 {
        herd(&transport, |_| server.url("/"), 50).await;
        let counts = at_rest(&transport).await;
        assert!(counts.opened <= 50, "{counts:?}");
        assert_eq!(counts.opened + counts.reused, if counts.reused > 500 { 1_000 } else { 500 });
        assert_eq!(counts.closed.total(), 0);
    }
    assert!(seen.load(Ordering::SeqCst) <= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overall_cap_holds_over_all_hosts_and_everybody_is_served() {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(Server::answering().await);
    }
    let transport =
        transport(TransportConfig::default().with_open_per_host(5).with_open_overall(10));
    herd(&transport, |n| servers[n % 5].url("/"), 10).await;
    assert!(at_rest(&transport).await.open() <= 10);
}

#[tokio::test]
async fn the_oldest_idle_connection_makes_room_for_another_host() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::answering().await);
    }
    let two = TransportConfig::default().with_open_per_host(2).with_open_overall(2);
    let transport = transport(two);
    for server in [&servers[0], &servers[1], &servers[2], &servers[1]] {
        patiently(get(&transport, server.url("/"))).await.unwrap();
        at_rest(&transport).await;
    }
    let counts = counts(&transport);
    assert_eq!((counts.opened, counts.reused, counts.idle), (3, 1, 2));
    assert_eq!(counts.closed.of(CloseReason::Displaced), 1);
}

#[tokio::test]
async fn idle_connections_above_the_caps_are_closed() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let server = Server::running(move |mut peer: Peer| {
        let gate = Arc::clone(&inner);
        async move {
            while peer.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                peer.write(OK).await;
            }
        }
    })
    .await;
    let config = TransportConfig::default().with_idle_per_host(3);
    let transport = transport(config);
    let calls = (0..10).map(|_| {
        let (transport, url) = (transport.clone(), server.url("/"));
        async move { get(&transport, url).await.unwrap() }
    });
    let mut callers: JoinSet<()> = calls.collect();
    until(|| counts(&transport).active == 10).await;
    gate.add_permits(10);
    while patiently(callers.join_next()).await.is_some() {}
    let counts = at_rest(&transport).await;
    assert_eq!((counts.idle, counts.closed.of(CloseReason::Surplus)), (3, 7));
}

/// A server with one slow connection: it answers a request per permit, and notes the paths.
async fn gated() -> (Server, Arc<Semaphore>, Arc<Mutex<Vec<String>>>) {
    let gate = Arc::new(Semaphore::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (inner, paths) = (Arc::clone(&gate), Arc::clone(&order));
    let server = Server::running(move |mut peer: Peer| {
        let (gate, paths) = (Arc::clone(&inner), Arc::clone(&paths));
        async move {
            while let Some(request) = peer.request().await {
                let path = request.split(' ').nth(1).unwrap().to_owned();
                paths.lock().unwrap().push(path);
                gate.acquire().await.unwrap().forget();
                peer.write(OK).await;
            }
        }
    })
    .await;
    (server, gate, order)
}

/// Starts a call and returns when it waits in line behind `waiting - 1` others, or is under way.
async fn queue(
    callers: &mut JoinSet<Result<(), TransportError>>,
    transport: &Transport,
    url: String,
    class: Priority,
    waiting: usize,
) {
    let caller = transport.clone();
    callers.spawn(async move {
        let request = Request::get(url).extension(class).body(()).unwrap();
        caller.send(request).await?.into_body().bytes(10).await.map(drop)
    });
    until(|| {
        let counts = counts(transport);
        counts.waiting == waiting && counts.active == 1
    })
    .await;
}

#[tokio::test]
async fn the_line_is_served_by_class_and_first_come_within_one() {
    use Priority::{High, Low, Normal, Urgent};
    let (server, gate, order) = gated().await;
    let transport = transport(TransportConfig::default().with_open_per_host(1));
    let mut callers = JoinSet::new();
    let line = [
        ("/first", Low),
        ("/low", Low),
        ("/normal-1", Normal),
        ("/high", High),
        ("/normal-2", Normal),
        ("/urgent", Urgent),
    ];
    for (waiting, (path, class)) in line.into_iter().enumerate() {
        queue(&mut callers, &transport, server.url(path), class, waiting).await;
    }
    gate.add_permits(line.len());
    for result in patiently(callers.join_all()).await {
        result.unwrap();
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(order, ["/first", "/urgent", "/high", "/normal-1", "/normal-2", "/low"]);
    assert_eq!(at_rest(&transport).await.opened, 1);
}

#[tokio::test]
async fn a_full_room_refuses_and_a_higher_class_displaces_a_lower() {
    let (server, gate, order) = gated().await;
    let config = TransportConfig::default().with_open_per_host(1).with_waiting_per_host(1);
    let transport = transport(config);
    let mut callers = JoinSet::new();
    queue(&mut callers, &transport, server.url("/held"), Priority::Low, 0).await;
    queue(&mut callers, &transport, server.url("/low"), Priority::Low, 1).await;
    queue(&mut callers, &transport, server.url("/normal"), Priority::Normal, 1).await;
    let displaced = patiently(callers.join_next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(displaced, TransportError::PoolFull), "{displaced:?}");
    let refused = get(&transport, server.url("/late")).await.unwrap_err();
    assert!(matches!(refused, TransportError::PoolFull), "{refused:?}");
    assert_eq!((refused.is_retryable(), refused.outcome()), (true, headworks::Outcome::Ignored));
    gate.add_permits(2);
    for result in patiently(callers.join_all()).await {
        result.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["/held", "/normal"]);
}

#[tokio::test]
async fn a_place_that_the_holder_gives_up_goes_to_the_line() {
    let (server, gate, order) = gated().await;
    let transport = transport(TransportConfig::default().with_open_per_host(1));
    let mut callers = JoinSet::new();
    let holder = transport.clone();
    let url = server.url("/held");
    let held = callers.spawn(async move { get(&holder, url).await });
    until(|| counts(&transport).active == 1).await;
    queue(&mut callers, &transport, server.url("/next"), Priority::Normal, 1).await;
    held.abort();
    gate.add_permits(2);
    while let Some(ended) = patiently(callers.join_next()).await {
        assert!(ended.is_err_and(|error| error.is_cancelled()) || counts(&transport).waiting == 0);
    }
    assert_eq!(order.lock().unwrap().last().map(String::as_str), Some("/next"));
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.closed.of(CloseReason::Abandoned)), (2, 1));
}

/// Two places in all, both held by a host with a never-ending line of its own.
#[tokio::test]
async fn a_busy_host_cant_starve_another() {
    let (busy, quiet) = (Server::answering().await, Server::answering().await);
    let two = TransportConfig::default().with_open_per_host(2).with_open_overall(2);
    let transport = transport(two);
    let served = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (transport, url, served) = (transport.clone(), busy.url("/"), Arc::clone(&served));
        callers.spawn(async move {
            loop {
                get(&transport, url.clone()).await.unwrap();
                served.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    until(|| served.load(Ordering::SeqCst) > 20).await;
    for _ in 0..5 {
        let before = served.load(Ordering::SeqCst);
        patiently(get(&transport, quiet.url("/"))).await.unwrap();
        let meanwhile = served.load(Ordering::SeqCst) - before;
        assert!(meanwhile < 200, "{meanwhile} went before");
    }
    callers.shutdown().await;
}

#[tokio::test]
async fn the_table_of_hosts_is_bounded_and_forgets_the_unused() {
    let (first, second) = (Server::by_hand().await, Server::answering().await);
    let transport = transport(TransportConfig::default().with_hosts(1));
    let (answer, peer) = tokio::join!(transport.get(first.url("/")), async {
        let mut peer = first.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer
    });
    let error = get(&transport, second.url("/")).await.unwrap_err();
    assert!(matches!(error, TransportError::TooManyHosts), "{error:?}");
    drop((answer, peer));
    at_rest(&transport).await;
    until(|| counts(&transport).open() == 0).await;
    get(&transport, second.url("/")).await.unwrap();
    assert_eq!((transport.snapshot().hosts.len(), counts(&transport).opened), (1, 2));
}
