//! Stale values, and the loads that renew them, on paused time.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn stale_for(config: CacheConfig) -> CacheConfig {
    let config = config.with_ttl(Some(10 * SECOND)).with_jitter_ratio(0.0);
    config.with_stale_for(100 * SECOND)
}

async fn settled() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_who_finds_it_stale_renews_it_and_nobody_waits() {
    let cache = cache(stale_for(CacheConfig::default()));
    cache.set(1, 10);
    advance(10 * SECOND).await;
    let (send, receive) = oneshot::channel();
    let renewed = async move { receive.await.map_err(|_| NoSuchThing) };
    assert_eq!(at_once(cache.get_or_load(&1, || renewed)).unwrap(), 10);
    let unasked = || -> std::future::Ready<Result<u32, NoSuchThing>> { panic!("one renews it") };
    assert_eq!(at_once(cache.get_or_load(&1, unasked)).unwrap(), 10);
    advance(5 * SECOND).await;
    assert_eq!(at_once(cache.get_or_load(&1, unasked)).unwrap(), 10, "one is still under way");
    send.send(11).unwrap();
    settled().await;
    assert_eq!(at_once(cache.get_or_load(&1, unasked)).unwrap(), 11);
    let seen = cache.snapshot();
    assert_eq!((seen.stale_hits, seen.hits, seen.loaded, seen.misses), (3, 1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_leaves_the_value_and_is_repeated_after_a_pause() {
    let cache = cache(stale_for(CacheConfig::default()));
    cache.set(1, 10);
    advance(10 * SECOND).await;
    for tries in 1..=3 {
        for _ in 0..5 {
            let fail = || async { Err::<u32, _>(NoSuchThing) };
            assert_eq!(cache.get_or_load(&1, fail).await.unwrap(), 10);
            settled().await;
        }
        assert_eq!(cache.snapshot().failed, tries);
        advance(SECOND).await;
    }
    advance(100 * SECOND).await;
    assert!(cache.get_or_load(&1, || async { Err::<u32, _>(NoSuchThing) }).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn no_more_are_renewed_at_once_than_allowed() {
    let cache = cache(stale_for(CacheConfig::default().with_revalidations(2)));
    cache.set_many([(1, 1), (2, 2), (3, 3)]);
    advance(10 * SECOND).await;
    for key in 1..=3 {
        let never = std::future::pending::<Result<u32, NoSuchThing>>;
        assert_eq!(at_once(cache.get_or_load(&key, never)).unwrap(), key);
    }
    settled().await;
    assert_eq!((cache.snapshot().loading, cache.snapshot().renewals_skipped), (2, 1));
    assert_eq!(cache.shutdown(SECOND).await, 2);
    assert_eq!((cache.snapshot().loading, cache.snapshot().abandoned), (0, 2));
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);
    assert_eq!(cache.get_or_load(&1, || ok(9)).await.unwrap(), 1, "as it is");
}

#[tokio::test(start_paused = true)]
async fn the_last_handles_drop_ends_them() {
    let cache = cache(stale_for(CacheConfig::default()));
    cache.set(1, 1);
    advance(10 * SECOND).await;
    let (send, receive) = oneshot::channel::<u32>();
    let renewed = async move { receive.await.map_err(|_| NoSuchThing) };
    assert_eq!(at_once(cache.clone().get_or_load(&1, || renewed)).unwrap(), 1);
    settled().await;
    assert!(!send.is_closed());
    drop(cache);
    settled().await;
    assert!(send.is_closed());
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_is_counted_and_others_go_on() {
    let cache = cache(stale_for(CacheConfig::default()));
    cache.set(1, 1);
    advance(10 * SECOND).await;
    let bug = || async { panic!("a bug") as Result<u32, NoSuchThing> };
    assert_eq!(cache.get_or_load(&1, bug).await.unwrap(), 1);
    settled().await;
    assert_eq!(cache.snapshot().abandoned, 1);
    advance(SECOND).await;
    assert_eq!(cache.get_or_load(&1, || ok(2)).await.unwrap(), 1);
    settled().await;
    assert_eq!(cache.get(&1), Some(2));
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_renewal_gets_what_it_gives() {
    let cache = cache(stale_for(CacheConfig::default()).with_stale_for(SECOND));
    cache.set(1, 1);
    advance(10 * SECOND).await;
    let (send, receive) = oneshot::channel();
    let renewed = async move { receive.await.map_err(|_| NoSuchThing) };
    assert_eq!(at_once(cache.get_or_load(&1, || renewed)).unwrap(), 1);
    settled().await;
    advance(2 * SECOND).await;
    let mut joins = Box::pin(cache.get_or_load(&1, || ok(99)));
    assert!(poll(&mut joins).is_pending());
    assert_eq!(cache.shutdown(Duration::ZERO).await, 1);
    send.send(5).unwrap();
    assert_eq!(joins.await.unwrap(), 5, "the load outlives the task that began it");
}

#[test]
fn outside_of_a_runtime_who_finds_it_stale_waits() {
    let cache = cache(stale_for(CacheConfig::default()));
    cache.set_at(1, 1, crate::ground::time::now() - 50 * SECOND);
    assert_eq!(at_once(cache.get_or_load(&1, || ok(2))).unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_leads_has_the_stale_value_to_fall_back_on() {
    let cache = cache(stale_for(CacheConfig::default()));
    cache.set(1, 10);
    advance(10 * SECOND).await;
    for tries in 1..=2 {
        let Lookup::Lead(lead) = at_once(cache.get_or_lead(&1)) else { panic!("it is stale") };
        assert_eq!(lead.stale(), Some(10));
        assert!(matches!(at_once(cache.get_or_lead(&1)), Lookup::Known(Ok(10))));
        lead.fail(NoSuchThing);
        assert_eq!(cache.snapshot().failed, tries);
        // Not again at once.
        assert!(matches!(at_once(cache.get_or_lead(&1)), Lookup::Known(Ok(10))));
        advance(SECOND).await;
    }
    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&1)) else { panic!("it is stale") };
    lead.finish(11);
    assert!(matches!(at_once(cache.get_or_lead(&1)), Lookup::Known(Ok(11))));
    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&2)) else { panic!("nothing is there") };
    assert_eq!(lead.stale(), None);
    advance(200 * SECOND).await;
    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&1)) else { panic!("it is gone") };
    assert_eq!(lead.stale(), None);
}

/// Outside of a runtime nobody renews in the background.
#[test]
fn without_a_runtime_a_load_that_fails_gives_the_stale_value() {
    let now = crate::ground::time::now();
    let config = CacheConfig::default().with_ttl(Some(std::time::Duration::from_nanos(1)));
    let cache = cache(config.with_stale_for(1_000 * SECOND));
    cache.set_at(1, 10, now);
    while crate::ground::time::now() <= now {}
    let fail = || async { Err::<u32, _>(NoSuchThing) };
    assert_eq!(at_once(cache.get_or_load(&1, fail)).unwrap(), 10);
    assert_eq!(cache.snapshot().failed, 1);
    assert!(at_once(cache.get_or_load(&2, fail)).is_err());
}
