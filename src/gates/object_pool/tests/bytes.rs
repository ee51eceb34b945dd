use std::io::Write;
use std::thread;
use std::time::Duration;

use bytes::{Buf, BufMut};

use super::super::{BytesPool, BytesPoolConfig};
use crate::ground::time;

/// Classes of 64 to 512 bytes.
fn small() -> BytesPool {
    let config = BytesPoolConfig::default().with_smallest_bytes(64).with_largest_bytes(512);
    BytesPool::with_config(config.with_max_idle_bytes(1 << 16)).unwrap()
}

/// Kept and idle, of each class.
fn kept(pool: &BytesPool) -> Vec<(u64, u64)> {
    pool.snapshot().iter().map(|class| (class.kept, class.idle)).collect()
}

#[test]
fn each_size_has_its_class() {
    let pool = small();
    let table = [(0, 64), (1, 64), (64, 64), (65, 128), (128, 128), (300, 512), (512, 512)];
    for (asked, given) in table {
        assert_eq!(pool.take(asked).capacity(), given, "{asked}");
    }
    assert_eq!(pool.take(513).capacity(), 513, "above all classes");
    assert_eq!(kept(&pool), [(3, 1), (2, 1), (0, 0), (2, 1)]);
}

#[test]
fn it_comes_back_empty() {
    let pool = small();
    let mut buf = pool.take(10);
    buf.put_slice(b"abc");
    buf.put_u16(0x6465);
    buf[0] = b'A';
    assert_eq!((&buf[..], buf.as_ref().len()), (&b"Abcde"[..], 5));
    buf.truncate(1);
    write!(buf, "{}", 42).unwrap();
    assert_eq!(&buf[..], b"A42");
    drop(buf);
    let again = pool.take(10);
    assert!(again.is_empty());
    assert_eq!(pool.snapshot()[0].hits, 1);
}

#[test]
fn it_grows_through_the_classes_and_leaves_them_behind() {
    let pool = small();
    let mut buf = pool.take(0);
    let mut written = Vec::new();
    for n in 0..1_000_u32 {
        match n % 3 {
            0 => buf.put_u8(n as u8),
            1 => buf.put_bytes(n as u8, 1),
            // By way of `chunk_mut` and `advance_mut`.
            _ => (&mut buf).limit(1).put_u8(n as u8),
        }
        written.push(n as u8);
        assert_eq!(&buf[..], &written[..]);
    }
    assert_eq!(kept(&pool), [(1, 1), (1, 1), (1, 1), (1, 1)], "one of each is back already");
    drop(buf);
    assert_eq!(kept(&pool), [(1, 1), (1, 1), (1, 1), (1, 1)], "too large to be kept");
}

#[test]
fn frozen_it_comes_home_when_the_last_clone_drops() {
    let pool = small();
    let mut buf = pool.take(100);
    buf.put_slice(b"hello world");
    let at = buf.as_ptr();
    let mut bytes = buf.freeze();
    assert_eq!(bytes.as_ptr(), at, "no copy");
    let (hello, clone) = (bytes.split_to(5), bytes.clone());
    bytes.advance(1);
    assert_eq!((&hello[..], &bytes[..]), (&b"hello"[..], &b"world"[..]));
    drop((bytes, clone));
    assert_eq!(kept(&pool)[1], (0, 0));
    let pool_of_thread = pool.clone();
    thread::spawn(move || drop((hello, pool_of_thread))).join().unwrap();
    assert_eq!(kept(&pool)[1], (1, 1));
    assert_eq!(pool.snapshot()[1].outstanding, 0);
}

#[test]
fn a_frozen_one_outlives_its_pool() {
    let pool = small();
    let mut buf = pool.take(100);
    buf.put_slice(b"hello");
    let bytes = buf.freeze();
    drop(pool);
    assert_eq!(&bytes[..], b"hello");
}

#[test]
fn nothing_written_is_nothing_kept_out() {
    let pool = small();
    assert!(pool.take(100).freeze().is_empty());
    assert_eq!(kept(&pool)[1], (1, 1));
}

#[test]
fn an_owned_one_is_the_same_buffer() {
    let pool = small();
    let mut buf = pool.take(64);
    buf.put_slice(b"x");
    let at = buf.as_ptr();
    let owned = buf.into_owned();
    assert_eq!((owned.as_ptr(), &owned[..]), (at, &b"x"[..]));
    thread::spawn(move || drop(owned)).join().unwrap();
    assert_eq!(kept(&pool)[0], (1, 1));
}

#[test]
fn what_is_detached_is_forgotten() {
    let pool = small();
    let mut buf = pool.take_secret(64);
    buf.put_slice(b"mine");
    assert_eq!(buf.detach(), b"mine");
    assert_eq!(pool.take(4_096).detach().capacity(), 4_096);
    let class = &pool.snapshot()[0];
    assert_eq!((class.detached, class.outstanding, class.idle), (1, 0, 0));
}

#[test]
fn trim_empties_every_class() {
    let pool = small();
    for size in [64, 128, 256, 512] {
        drop((0..100).map(|_| pool.take(size)).collect::<Vec<_>>());
    }
    let start = time::now();
    for minute in 1..6 {
        pool.trim_at(start + Duration::from_secs(60 * minute));
    }
    for class in pool.snapshot() {
        assert!(class.idle <= 64 && class.trimmed > 0, "this thread's own: {class:?}");
    }
}
