use std::time::Duration;

use super::super::config::Limits;
use super::super::{BytesPoolConfig, ObjectPoolConfig};
use crate::{BytesPool, ConfigError, ObjectPool};

#[test]
fn what_cannot_work_is_told_by_field() {
    let base = ObjectPoolConfig::default;
    let bad = [
        (base().with_max_idle(0), "object_pool.max_idle"),
        (base().with_max_idle((1 << 20) + 1), "object_pool.max_idle"),
        (base().with_max_idle(4).with_floor(5), "object_pool.floor"),
        (base().with_trim_after(Duration::from_micros(999)), "object_pool.trim_after"),
    ];
    for (config, expected) in bad {
        match ObjectPool::with_config(config, || 0_u8, |_| true).unwrap_err() {
            ConfigError::Invalid { field, .. } => assert_eq!(field, expected),
            other => panic!("{other:?}"),
        }
    }
    let good = [
        base().with_max_idle(1).with_floor(1),
        base().with_max_idle(1 << 20),
        base().with_trim_after(None),
        base().with_trim_after(Duration::MAX),
    ];
    for config in good {
        assert!(ObjectPool::with_config(config, || 0_u8, |_| true).is_ok());
    }
}

#[test]
fn classes_that_cannot_work_are_told_by_field() {
    let base = BytesPoolConfig::default;
    let bad = [
        (base().with_smallest_bytes(1_000), "bytes_pool.smallest_bytes"),
        (base().with_smallest_bytes(0), "bytes_pool.smallest_bytes"),
        (base().with_smallest_bytes(32), "bytes_pool.smallest_bytes"),
        (base().with_smallest_bytes(1 << 17), "bytes_pool.smallest_bytes"),
        (base().with_largest_bytes(65_000), "bytes_pool.largest_bytes"),
        (base().with_largest_bytes(1 << 31), "bytes_pool.largest_bytes"),
        (base().with_max_idle_bytes((1 << 17) - (1 << 10) - 1), "bytes_pool.max_idle_bytes"),
        (base().with_max_idle_bytes((1 << 40) + 1), "bytes_pool.max_idle_bytes"),
        (base().with_trim_after(Duration::ZERO), "bytes_pool.trim_after"),
    ];
    for (config, expected) in bad {
        match BytesPool::with_config(config.clone()).unwrap_err() {
            ConfigError::Invalid { field, .. } => assert_eq!(field, expected, "{config:?}"),
            other => panic!("{other:?}"),
        }
    }
    let tight = base().with_max_idle_bytes((1 << 17) - (1 << 10));
    assert!(BytesPool::with_config(tight).is_ok(), "one of each class");
}

#[test]
fn idle_bytes_stay_within_what_was_given() {
    for max_idle_bytes in [(1 << 17) - (1 << 10), 1_000_000, 8 << 20, 1 << 30] {
        let config = BytesPoolConfig::default().with_max_idle_bytes(max_idle_bytes);
        let classes = config.classes().unwrap();
        let most: usize = classes.iter().map(|(size, class)| size * class.max_idle).sum();
        assert!(most <= max_idle_bytes, "{most} of {max_idle_bytes}");
        assert!(classes.iter().all(|(_, class)| class.limits().is_ok()));
    }
}

#[test]
fn magazines_follow_the_bound_and_the_machine() {
    // max_idle, threads at once; room, magazines, of which lent
    let table = [
        (1, 2, 1, 1, 0),
        (2, 2, 1, 2, 1),
        (7, 2, 1, 7, 3),
        (64, 2, 8, 8, 4),
        (1_024, 2, 32, 32, 16),
        (1_024, 16, 16, 64, 32),
        (1_024, 64, 4, 256, 128),
        (1_024, 500, 1, 1_024, 512),
        (100, 3, 8, 12, 6),
        (1 << 20, 2, 32, 1 << 15, 1 << 14),
    ];
    for (max_idle, threads, room, magazines, lent) in table {
        let limits = Limits::new(max_idle, 0, None, threads);
        assert_eq!((limits.room, limits.magazines, limits.lent), (room, magazines, lent));
        assert!(room * magazines <= max_idle && (room + 1) * (magazines + 1) > max_idle);
    }
}
