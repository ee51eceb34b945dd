//! The second tier: shared, never in the way.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Numbers as text.
struct Text;

impl Codec<u32, u32> for Text {
    fn name(&self, key: &u32) -> String {
        format!("numbers/{key}")
    }

    fn encode(&self, value: &u32) -> Option<Bytes> {
        Some(Bytes::from(value.to_string()))
    }

    fn decode(&self, bytes: Bytes) -> Option<u32> {
        std::str::from_utf8(&bytes).ok()?.parse().ok()
    }
}

fn before(tier: &Arc<impl SecondTier>) -> Cache<u32, u32> {
    let config = CacheConfig::default().with_ttl(Some(10 * SECOND)).with_jitter_ratio(0.0);
    let second = SecondTierConfig::default().with_ttl(Some(60 * SECOND));
    Cache::builder(config).second_tier(second, Arc::clone(tier) as _, Text).build().unwrap()
}

async fn unasked() -> Result<u32, NoSuchThing> {
    panic!("the second tier has it")
}

#[tokio::test(start_paused = true)]
async fn what_one_process_loads_another_one_finds() {
    let tier = Arc::new(MemoryTier::new(10));
    let (ours, theirs) = (before(&tier), before(&tier));
    assert_eq!(ours.get_or_load(&1, || ok(7)).await.unwrap(), 7);
    assert_eq!(theirs.get_or_load(&1, unasked).await.unwrap(), 7);
    assert_eq!((theirs.snapshot().tier_hits, theirs.snapshot().loaded), (1, 0));
    assert_eq!(tier.get("numbers/1").await.unwrap().unwrap().bytes, "7");
    // Its own time is over, not the second tier's.
    tokio::time::advance(55 * SECOND).await;
    assert_eq!(ours.get_or_load(&1, unasked).await.unwrap(), 7);
    // And what the second tier keeps no longer, nobody does.
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(ours.get_or_load(&1, || ok(8)).await.unwrap(), 8);
    assert_eq!(ours.snapshot().tier_misses, 2);
}

#[tokio::test(start_paused = true)]
async fn store_and_invalidate_reach_it() {
    let tier = Arc::new(MemoryTier::new(1));
    let (ours, theirs) = (before(&tier), before(&tier));
    ours.store(1, 5).await.unwrap();
    assert_eq!(theirs.get_or_load(&1, unasked).await.unwrap(), 5);
    assert!(ours.store(2, 6).await.is_err(), "full");
    assert_eq!(ours.get(&2), Some(6), "here it is");
    ours.invalidate(&1).await.unwrap();
    assert_eq!((ours.get(&1), tier.get("numbers/1").await.unwrap()), (None, None));
    let mut dropped = Box::pin(ours.store(3, 7));
    let _ = poll(&mut dropped);
    drop(dropped);
    assert_eq!(ours.get(&3), Some(7));
    let mut dropped = Box::pin(ours.invalidate(&3));
    let _ = poll(&mut dropped);
    drop(dropped);
    assert_eq!(ours.get(&3), None);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_loaded() {
    let tier = Arc::new(MemoryTier::new(10));
    tier.set("numbers/1", Bytes::from("seven"), None).await.unwrap();
    assert_eq!(before(&tier).get_or_load(&1, || ok(7)).await.unwrap(), 7);
    assert_eq!(tier.get("numbers/1").await.unwrap().unwrap().bytes, "7");
}

/// Fails, or never answers.
struct Broken {
    hangs: bool,
    asked: Mutex<Vec<&'static str>>,
}

impl Broken {
    async fn call<T>(&self, what: &'static str) -> Result<T, TierError> {
        self.asked.lock().unwrap().push(what);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(TierError::failed("down"))
    }
}

#[async_trait]
impl SecondTier for Broken {
    async fn get(&self, _: &str) -> Result<Option<Stored>, TierError> {
        self.call("get").await
    }

    async fn set(&self, _: &str, _: Bytes, _: Option<Duration>) -> Result<(), TierError> {
        self.call("set").await
    }

    async fn delete(&self, _: &str) -> Result<(), TierError> {
        self.call("delete").await
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_or_hangs_fails_no_load_and_delays_it_by_its_timeouts() {
    for hangs in [false, true] {
        let tier = Arc::new(Broken { hangs, asked: Mutex::default() });
        let cache = before(&tier);
        let begun = tokio::time::Instant::now();
        assert_eq!(cache.get_or_load(&1, || ok(7)).await.unwrap(), 7);
        let most = Duration::from_millis(if hangs { 110 } else { 0 });
        assert!(begun.elapsed() <= most, "{:?}", begun.elapsed());
        assert_eq!(*tier.asked.lock().unwrap(), ["get", "set"]);
        assert_eq!((cache.snapshot().tier_errors, cache.snapshot().loaded), (2, 1));
        let said = cache.invalidate(&1).await.unwrap_err();
        assert_eq!(matches!(said, TierError::TimedOut), hangs);
        assert_eq!(cache.get(&1), None);
    }
}

#[cfg(feature = "compression")]
#[test]
fn bytes_are_packed_when_it_pays_and_unpacked_within_a_limit() {
    let long = Bytes::from("replicas: 5\n".repeat(10_000));
    let noise: Vec<u8> = {
        let mut rng = crate::ground::rng::Rng::seeded(3);
        (0..5_000).map(|_| rng.next() as u8).collect()
    };
    let table = [
        (Bytes::new(), 1),
        (Bytes::from_static(b"short"), 6),
        (Bytes::from(noise), 5_001),
        (long.clone(), 1_000),
    ];
    for (bytes, most) in table {
        let packed = PackedBytes::pack(bytes.clone(), 1_000);
        assert!(packed.len() <= most, "{} bytes became {}", bytes.len(), packed.len());
        let back = PackedBytes::from_bytes(packed.as_bytes().clone());
        assert_eq!(back.unpack(bytes.len()), Ok(bytes.clone()));
        if let Some(limit_bytes) = bytes.len().checked_sub(1) {
            assert_eq!(back.unpack(limit_bytes), Err(UnpackError::TooLarge { limit_bytes }));
        }
    }
    // A bomb, whose end is never reached.
    let bomb = PackedBytes::pack(Bytes::from(vec![0; 64 << 20]), 0);
    assert!(bomb.len() < 16 << 10);
    let limit_bytes = 1 << 20;
    assert_eq!(bomb.unpack(limit_bytes), Err(UnpackError::TooLarge { limit_bytes }));
    let packed = PackedBytes::pack(long, 0);
    let cut = packed.as_bytes().slice(..packed.len() / 2);
    for damaged in
        [Bytes::new(), Bytes::from_static(b"\x07abc"), Bytes::from_static(b"\x01abc"), cut]
    {
        assert_eq!(PackedBytes::from_bytes(damaged).unpack(1 << 20), Err(UnpackError::Damaged));
    }
}
