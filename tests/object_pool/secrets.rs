//! What is left in the memory of a buffer that came back.
#![allow(unsafe_code, reason = "looks at what lies behind the length")]

use bytes::BufMut;
use headworks::BytesPool;
use headworks::object_pool::{BytesPoolConfig, PooledBuf};

/// Classes of 64 to 512 bytes.
fn small() -> BytesPool {
    let config = BytesPoolConfig::default().with_smallest_bytes(64).with_largest_bytes(512);
    BytesPool::with_config(config).unwrap()
}

/// All of a buffer's memory, written or not.
fn memory(buf: &mut PooledBuf<'_>) -> Vec<u8> {
    buf.clear();
    let chunk = buf.chunk_mut();
    // SAFETY: the test has had all of it written before.
    unsafe { std::slice::from_raw_parts(chunk.as_mut_ptr(), chunk.len()) }.to_vec()
}

#[test]
fn a_secret_leaves_nothing_behind_and_a_plain_one_does() {
    let pool = small();
    for (is_secret, left) in [(false, 0x5a_u8), (true, 0)] {
        let mut buf = if is_secret { pool.take_secret(64) } else { pool.take(64) };
        buf.put_bytes(0x5a, 64);
        buf.truncate(3);
        drop(buf.freeze());
        assert_eq!(memory(&mut pool.take(64)), vec![left; 64]);
    }
    assert_eq!(pool.snapshot()[0].hits, 3, "it was one and the same buffer");
}

#[test]
fn a_secret_that_grows_leaves_nothing_in_what_it_outgrew() {
    let pool = small();
    let mut secret = pool.take_secret(64);
    secret.put_bytes(0x5a, 64);
    secret.put_u8(0x5a);
    assert_eq!(memory(&mut pool.take(64)), vec![0; 64]);
    assert_eq!(format!("{secret:?}"), "PooledBuf { len: 65, capacity: 128, .. }");
}
