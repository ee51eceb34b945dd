//! Presets and checks of the configuration.

use std::time::Duration;

use super::super::config::{Preset, TransportConfig};
use super::super::factory::TransportFactory;
use crate::ground::config_error::ConfigError;

fn row(preset: Preset) -> ([usize; 3], [u64; 5]) {
    let it = TransportConfig::from(preset);
    let counts = [it.idle_overall, it.idle_per_host, it.open_per_host];
    let times = [
        it.dial_timeout,
        it.tls_timeout,
        it.response_header_timeout,
        it.idle_timeout,
        it.total_timeout,
    ];
    assert_eq!((it.open_overall, it.pool_wait_timeout.as_secs()), (1_000, 5));
    assert_eq!((it.tcp_keep_alive, it.max_age.as_secs()), (Some(Duration::from_secs(30)), 600));
    (counts, times.map(|time| time.as_secs()))
}

#[test]
fn the_presets_are_the_designs_table() {
    assert_eq!(row(Preset::Default), ([100, 20, 100], [5, 10, 10, 90, 30]));
    assert_eq!(row(Preset::HighThroughput), ([200, 50, 200], [5, 15, 60, 120, 60]));
    assert_eq!(row(Preset::Optimized), ([100, 50, 100], [10, 10, 30, 90, 30]));
    assert_eq!(TransportConfig::from(Preset::Default), TransportConfig::default());
}

#[test]
fn an_impossible_value_is_refused_by_name() {
    let sound = TransportConfig::default;
    for (config, name) in [
        (sound().with_open_overall(0), "http_transport.open_overall"),
        (sound().with_open_per_host(0), "http_transport.open_per_host"),
        (sound().with_open_per_host(1_001), "http_transport.open_per_host"),
        (sound().with_idle_overall(1_000_001), "http_transport.idle_overall"),
        (sound().with_idle_per_host(1_000_001), "http_transport.idle_per_host"),
        (sound().with_hosts(0), "http_transport.hosts"),
        (sound().with_hosts(1_025), "http_transport.hosts"),
        (sound().with_waiting_per_host(0), "http_transport.waiting_per_host"),
        (sound().with_pool_wait_timeout(Duration::ZERO), "http_transport.pool_wait_timeout"),
        (sound().with_total_timeout(Duration::MAX), "http_transport.total_timeout"),
        (sound().with_tcp_keep_alive(Some(Duration::ZERO)), "http_transport.tcp_keep_alive"),
        (sound().with_max_header_bytes(8_191), "http_transport.max_header_bytes"),
        (sound().with_max_json_bytes(0), "http_transport.max_json_bytes"),
        (sound().with_expect_continue_wait(Duration::ZERO), "http_transport.expect_continue_wait"),
    ] {
        let refused = TransportFactory::new().unwrap().transport(config).unwrap_err();
        assert!(
            matches!(&refused, ConfigError::Invalid { field, .. } if *field == name),
            "{refused}"
        );
    }
}

#[test]
fn a_factory_keeps_a_bounded_number_of_pools_and_none_that_is_unused() {
    let factory = TransportFactory::new().unwrap();
    let named = |n: usize| TransportConfig::default().with_name(format!("pool-{n}"));
    for n in 0..200 {
        factory.transport(named(n)).unwrap();
    }
    let held: Vec<_> = (0..64).map(|n| factory.transport(named(n)).unwrap()).collect();
    assert!(factory.transport(named(64)).is_err());
    assert!(factory.transport(named(63)).is_ok(), "an old one is shared");
    drop(held);
    assert!(factory.transport(named(64)).is_ok());
}

#[cfg(all(feature = "serde", feature = "json"))]
#[test]
fn a_configuration_loads_from_any_serde_format() {
    let loaded: TransportConfig =
        serde_json::from_str(r#"{"name":"llm","open_per_host":7,"max_age":{"secs":60,"nanos":0}}"#)
            .unwrap();
    let built = TransportConfig::default()
        .with_name("llm")
        .with_open_per_host(7)
        .with_max_age(Duration::from_secs(60));
    assert_eq!(loaded, built);
    assert!(serde_json::from_str::<TransportConfig>(r#"{"open_per_hots":7}"#).is_err());
    assert_eq!(serde_json::to_string(&Preset::HighThroughput).unwrap(), "\"high_throughput\"");
}
