//! Which address of a host is tried when, and which connection is taken.

#[cfg(feature = "test-util")]
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::super::dial::addresses::{MOST_TRIED, order};
#[cfg(feature = "test-util")]
use super::super::dial::race::first_of;
use super::super::dial::race::{Race, Step};
use crate::ground::time;

const DELAY: Duration = Duration::from_millis(250);

fn v4(last: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 80))
}

fn v6(last: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last), 80))
}

#[test]
fn families_come_by_turns_and_the_preferred_one_first() {
    let found = vec![v6(1), v6(2), v6(3), v4(1), v4(2)];
    assert_eq!(order(found, None), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
    let found = vec![v4(1), v4(2), v6(1)];
    assert_eq!(order(found, None), [v4(1), v6(1), v4(2)]);
    assert!(order(vec![], None).is_empty() && order(vec![], Some(3)).is_empty());
}

#[test]
fn a_turn_begins_with_the_next_address_whatever_dns_says_first() {
    let firsts: Vec<_> = [[v6(1), v4(1), v4(2)], [v4(2), v6(1), v4(1)], [v4(1), v4(2), v6(1)]]
        .into_iter()
        .enumerate()
        .map(|(turn, found)| order(found.to_vec(), Some(turn))[0])
        .collect();
    assert_eq!(firsts, [v4(1), v4(2), v6(1)]);
}

fn addresses() -> impl Strategy<Value = Vec<SocketAddr>> {
    prop::collection::vec(prop_oneof![(0..20_u8).prop_map(v4), (0..20_u16).prop_map(v6)], 0..40)
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(1_000))]

    #[test]
    fn every_address_is_tried_once_and_each_family_in_its_order(
        found in addresses(),
        turn in prop::option::of(0..100_usize),
    ) {
        let ordered = order(found.clone(), turn);
        let mut distinct = found.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(ordered.len(), distinct.len().min(MOST_TRIED));
        let mut sorted = ordered.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), ordered.len(), "once");
        prop_assert!(ordered.iter().all(|address| found.contains(address)));
        if turn.is_none() {
            prop_assert_eq!(ordered.first(), found.first());
            for is_v4 in [true, false] {
                let places = ordered.iter().filter(|it| it.is_ipv4() == is_v4);
                let places = places.map(|it| found.iter().position(|other| other == it));
                let places: Vec<_> = places.collect();
                prop_assert!(places.is_sorted());
            }
        }
        // The families alternate for as long as both have some left.
        let both = distinct.iter().filter(|it| it.is_ipv4()).count();
        let both = both.min(distinct.len() - both).min(MOST_TRIED / 2);
        if found.iter().all(|it| found.iter().filter(|other| *other == it).count() == 1) {
            let alternate = ordered[..2 * both].windows(2);
            prop_assert!(alternate.into_iter().all(|two| two[0].is_ipv4() != two[1].is_ipv4()));
        }
    }

    #[test]
    fn every_address_is_first_equally_often(found in addresses(), from in 0..1_000_usize) {
        let mut distinct = found.clone();
        distinct.sort();
        distinct.dedup();
        let mut firsts: Vec<_> = (from..from + distinct.len())
            .filter_map(|turn| order(found.clone(), Some(turn)).first().copied())
            .collect();
        firsts.sort();
        prop_assert_eq!(firsts, distinct);
    }
}

#[test]
fn the_next_address_starts_after_the_delay_or_at_once_after_a_failure() {
    let start = time::now();
    let mut race = Race::new(vec![v6(1), v4(1), v6(2)], DELAY, start);
    assert_eq!(race.step(start), Step::Start(v6(1)));
    assert_eq!(race.step(start), Step::Wait(Some(start + DELAY)));
    let early = start + DELAY - Duration::from_nanos(1);
    assert_eq!(race.step(early), Step::Wait(Some(start + DELAY)));
    assert_eq!(race.step(start + DELAY), Step::Start(v4(1)));
    // An older clock starts nothing.
    assert_eq!(race.step(start), Step::Wait(Some(start + 2 * DELAY)));
    race.failed(start + DELAY);
    assert_eq!(race.step(start + DELAY), Step::Start(v6(2)));
    assert_eq!(race.step(start + DELAY), Step::Wait(None), "none is left to start");
    race.failed(start + DELAY);
    assert_eq!(race.step(start + 9 * DELAY), Step::Wait(None), "one still runs");
    race.failed(start + 9 * DELAY);
    assert_eq!(race.step(start + 9 * DELAY), Step::Lost);
    assert_eq!(Race::new(vec![], DELAY, start).step(start), Step::Lost);
}

#[cfg(feature = "test-util")]
fn refused() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionRefused)
}

#[cfg(feature = "test-util")]
mod paused {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;
    use crate::ground::time::now;

    /// Counts its own drops.
    struct Counted(Rc<Cell<usize>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_answer_wins_and_the_losers_are_dropped() {
        let (began, dropped) = (now(), Rc::new(Cell::new(0)));
        let starts = RefCell::new(Vec::new());
        // The first never answers, the second takes long, the third is quick.
        let won = first_of(vec![v6(1), v4(1), v6(2), v4(2)], DELAY, |address| {
            starts.borrow_mut().push((address, now().saturating_duration_since(began)));
            let counted = Counted(Rc::clone(&dropped));
            async move {
                let _counted = counted;
                let takes = if address == v6(2) { DELAY / 5 } else { 100 * DELAY };
                tokio::time::sleep(takes).await;
                Ok(address)
            }
        });
        assert_eq!(won.await.unwrap(), v6(2));
        let expected = [(v6(1), Duration::ZERO), (v4(1), DELAY), (v6(2), 2 * DELAY)];
        assert_eq!(*starts.borrow(), expected, "the fourth was not needed");
        assert_eq!(dropped.get(), 3);
        assert_eq!(now().saturating_duration_since(began), 2 * DELAY + DELAY / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_race_that_is_given_up_leaves_nothing_behind() {
        let dropped = Rc::new(Cell::new(0));
        let race = first_of(vec![v6(1), v4(1)], DELAY, |_| {
            let counted = Counted(Rc::clone(&dropped));
            async move {
                let _counted = counted;
                std::future::pending::<io::Result<()>>().await
            }
        });
        assert!(tokio::time::timeout(3 * DELAY, race).await.is_err());
        assert_eq!(dropped.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_failed_is_told() {
        let began = now();
        let lost = first_of(vec![v6(1), v4(1)], DELAY, |address| async move {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            Err::<(), _>(if address == v4(1) { refused() } else { late })
        });
        let error = lost.await.unwrap_err();
        assert!(!error.is_timeout());
        assert_eq!(now(), began, "a failure waits for nothing");
        let told = error.to_string();
        assert!(
            told.starts_with("[2001:db8::1]:80: ") && told.contains("192.0.2.1:80: "),
            "{told}"
        );
        let late = |_| async { Err::<(), _>(io::ErrorKind::TimedOut.into()) };
        assert!(first_of(vec![v6(1), v4(1)], DELAY, late).await.unwrap_err().is_timeout());
        let none = first_of(vec![], DELAY, late).await.unwrap_err();
        assert_eq!(
            (none.is_timeout(), none.to_string().as_str()),
            (false, "the name has no address")
        );
    }
}

mod real {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::super::super::close::InUse;
    use super::super::super::config::{AddressOrder, TransportConfig};
    use super::super::super::dial::{Connector, Names};
    use super::super::super::error::TransportError;
    use super::super::super::shared::Shared;
    #[cfg(feature = "tls")]
    use super::super::super::tls::Tls;
    use super::super::super::transport::Transport;
    use super::*;

    /// A transport for which every name stands for `addresses`.
    fn transport(config: TransportConfig, addresses: Vec<SocketAddr>) -> Transport {
        let connector = Connector::new(
            Names::These(addresses),
            #[cfg(feature = "tls")]
            Tls::new(&config).unwrap(),
        );
        Transport::new(Arc::new(InUse(Arc::new(Shared::new(config, connector, None)))))
    }

    /// Each answers with its own address. All listen on one port of different loopback addresses.
    async fn servers(count: u8) -> (Vec<SocketAddr>, JoinSet<()>) {
        let (mut addresses, mut tasks) = (Vec::new(), JoinSet::new());
        for n in 1..=count {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, n), 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            addresses.push(address);
            tasks.spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let ip = address.ip().to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ip.len());
                    let mut request = [0; 1024];
                    while matches!(stream.read(&mut request).await, Ok(1..)) {
                        stream.write_all(format!("{head}{ip}").as_bytes()).await.unwrap();
                    }
                }
            });
        }
        (addresses, tasks)
    }

    async fn ask(transport: &Transport) -> Result<IpAddr, TransportError> {
        let answer = transport.get("http://many.example/").await?;
        let body = answer.into_body().bytes(64).await?;
        Ok(std::str::from_utf8(&body).unwrap().parse().unwrap())
    }

    #[tokio::test]
    async fn connections_go_round_the_addresses_of_a_host() {
        let (mut addresses, _servers) = servers(3).await;
        let config = TransportConfig::default()
            .with_address_order(AddressOrder::RoundRobin)
            .with_idle_per_host(0);
        let round = transport(config.clone(), addresses.clone());
        let mut asked = BTreeMap::<IpAddr, usize>::new();
        for _ in 0..12 {
            *asked.entry(ask(&round).await.unwrap()).or_default() += 1;
        }
        assert_eq!(asked.into_values().collect::<Vec<_>>(), [4, 4, 4]);

        // One that refuses is passed over, and its turns are another's.
        let nobody = TcpListener::bind("127.0.0.4:0").await.unwrap();
        addresses.push(nobody.local_addr().unwrap());
        drop(nobody);
        let round = transport(config, addresses.clone());
        for _ in 0..8 {
            ask(&round).await.unwrap();
        }
        // By default the first is asked for as long as it answers.
        let config = TransportConfig::default().with_idle_per_host(0);
        addresses.reverse();
        let preferred = transport(config, addresses);
        for _ in 0..4 {
            assert_eq!(ask(&preferred).await.unwrap().to_string(), "127.0.0.3");
        }
        assert_eq!(preferred.snapshot().in_all.opened, 4);
    }

    #[tokio::test]
    async fn a_name_whose_addresses_all_refuse_is_a_failed_dial() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        for addresses in [vec![address], vec![]] {
            let transport = transport(TransportConfig::default(), addresses);
            let error = ask(&transport).await.unwrap_err();
            assert!(matches!(error, TransportError::Dial { .. }), "{error:?}");
            assert_eq!(transport.snapshot().in_all.open(), 0);
        }
    }
}
