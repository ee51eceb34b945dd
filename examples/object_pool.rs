//! Object pools: rows that keep their size, and buffers that are sent off and come home.
//!
//! `cargo run --example object_pool`

use std::thread;
use std::time::Duration;

use bytes::BufMut;
use headworks::object_pool::{MetricValue, ObjectPoolConfig};
use headworks::{BytesPool, ConfigError, ObjectPool};

fn main() -> Result<(), ConfigError> {
    rows()?;
    buffers();
    Ok(())
}

/// A row is costly to grow, so it is used again; one that grew too large is not.
fn rows() -> Result<(), ConfigError> {
    let config = ObjectPoolConfig::default()
        .with_name("rows")
        .with_max_idle(64)
        .with_trim_after(Duration::from_secs(10));
    let reset = |row: &mut Vec<u64>| {
        row.clear();
        row.capacity() <= 4_096
    };
    let rows = ObjectPool::with_config(config, || Vec::with_capacity(512), reset)?;

    for length in [10, 500, 100_000, 20] {
        let mut row = rows.take();
        assert!(row.is_empty());
        row.extend(0..length);
    }
    // One that is kept for good leaves the pool.
    let kept: Vec<u64> = rows.take().detach();
    assert!(kept.capacity() >= 512);

    let look = rows.snapshot();
    assert_eq!((look.misses, look.hits, look.dropped_by_reset), (2, 3, 1));
    assert_eq!((look.detached, look.outstanding, look.idle), (1, 0, 0));
    for metric in look.metrics() {
        if let MetricValue::Counter(n @ 1..) | MetricValue::Gauge(n @ 1..) = metric.value {
            println!("{}{{pool=\"{}\"}} {n}", metric.name, look.name);
        }
    }
    Ok(())
}

/// One thread writes, another reads: no copy, and the same memory each time.
fn buffers() {
    let pool = BytesPool::new();
    for round in 0..1_000_u32 {
        let mut buf = pool.take(3_000);
        buf.put_slice(b"round ");
        buf.put_u32(round);
        let (word, rest) = {
            let bytes = buf.freeze();
            (bytes.slice(..5), bytes.slice(6..))
        };
        let reader = thread::spawn(move || (&word[..] == b"round", rest.len()));
        assert_eq!(reader.join().ok(), Some((true, 4)));
    }
    let class = &pool.snapshot()[2];
    assert_eq!((class.name.as_ref(), class.outstanding), ("bytes_4096", 0));
    assert!(class.misses < 100, "{class:?}");
    println!("1000 frozen buffers, of which {} were made", class.misses);
}
