//! Loads that several wait for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use super::*;

/// A load that gives what is sent.
async fn sent(receiver: oneshot::Receiver<u32>) -> Result<u32, NoSuchThing> {
    receiver.await.map_err(|_| NoSuchThing)
}

fn unasked() -> std::future::Ready<Result<u32, NoSuchThing>> {
    panic!("a load is under way")
}

type Asking = Boxed<Result<u32, LoadError>>;

fn asking<F, Fut>(cache: &Cache<u32, u32>, load: F) -> Asking
where
    F: FnOnce() -> Fut + 'static,
    Fut: Future<Output = Result<u32, NoSuchThing>> + Send + 'static,
{
    let cache = cache.clone();
    Box::pin(async move { cache.get_or_load(&1, load).await })
}

#[test]
fn one_load_is_for_all_who_wait() {
    let cache = cache(CacheConfig::default());
    let (send, receive) = oneshot::channel();
    let mut first = asking(&cache, || sent(receive));
    let mut others = [asking(&cache, unasked), asking(&cache, unasked)];
    assert!(poll(&mut first).is_pending());
    others.iter_mut().for_each(|other| assert!(poll(other).is_pending()));
    send.send(7).unwrap();
    // In any order: whoever is polled drives it.
    assert_eq!(poll(&mut others[1]).map(Result::unwrap), Poll::Ready(7));
    assert_eq!(poll(&mut first).map(Result::unwrap), Poll::Ready(7));
    assert_eq!(poll(&mut others[0]).map(Result::unwrap), Poll::Ready(7));
    let seen = cache.snapshot();
    assert_eq!((seen.loaded, seen.misses, seen.joined, seen.loading), (1, 3, 2, 0));
    assert_eq!(cache.get(&1), Some(7));
}

#[test]
fn a_load_goes_on_when_the_one_who_brought_it_leaves() {
    let cache = cache(CacheConfig::default());
    let (send, receive) = oneshot::channel();
    let mut first = asking(&cache, || sent(receive));
    assert!(poll(&mut first).is_pending());
    let woken = Arc::new(Woken::default());
    let mut other = asking(&cache, unasked);
    let waker = Waker::from(Arc::clone(&woken));
    assert!(other.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(first);
    send.send(7).unwrap();
    assert!(woken.take(), "the load's wake-up is everybody's");
    assert_eq!(poll(&mut other).map(Result::unwrap), Poll::Ready(7));
}

#[test]
fn a_load_ends_with_the_last_who_waits_and_leaves_nothing() {
    let cache = cache(CacheConfig::default());
    let (send, receive) = oneshot::channel();
    let mut waiting = [asking(&cache, || sent(receive)), asking(&cache, unasked)];
    waiting.iter_mut().for_each(|one| assert!(poll(one).is_pending()));
    drop(waiting);
    assert!(send.is_closed(), "the load is dropped");
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);
    let seen = cache.snapshot();
    assert_eq!((seen.abandoned, seen.loading), (1, 0));
    assert_eq!(at_once(cache.get_or_load(&1, || ok(8))).unwrap(), 8);
}

#[test]
fn one_who_is_held_and_not_polled_stops_nobody() {
    let cache = cache(CacheConfig::default());
    let (send, receive) = oneshot::channel();
    let mut held = asking(&cache, || sent(receive));
    let mut other = asking(&cache, unasked);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(poll(&mut held).is_pending());
    assert!(other.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    send.send(7).unwrap();
    assert!(woken.take());
    assert!(poll(&mut other).is_ready());
    drop(held);
}

#[test]
fn a_panic_goes_to_the_one_who_brought_the_load_and_the_next_one_leads() {
    for bringer_polls in [true, false] {
        let cache = cache(CacheConfig::default());
        let (send, receive) = oneshot::channel::<u32>();
        let load = async move {
            let _ = receive.await;
            panic!("a bug in the load");
        };
        let mut first = asking(&cache, || load);
        let mut other = asking(&cache, || ok(9));
        assert!(poll(&mut first).is_pending() && poll(&mut other).is_pending());
        drop(send);
        if !bringer_polls {
            assert_eq!(poll(&mut other).map(Result::unwrap), Poll::Ready(9));
        }
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut first))).is_err());
        if bringer_polls {
            assert_eq!(poll(&mut other).map(Result::unwrap), Poll::Ready(9));
        }
        let seen = cache.snapshot();
        assert_eq!((seen.abandoned, seen.loaded, seen.loading), (1, 1, 0));
    }
}

#[test]
fn a_panic_of_one_who_has_left_is_nobodys() {
    let cache = cache(CacheConfig::default());
    let (send, receive) = oneshot::channel::<u32>();
    let load = async move {
        let _ = receive.await;
        panic!("a bug in the load");
    };
    let mut first = asking(&cache, || load);
    let mut other = asking(&cache, || ok(9));
    assert!(poll(&mut first).is_pending() && poll(&mut other).is_pending());
    drop((first, send));
    assert_eq!(poll(&mut other).map(Result::unwrap), Poll::Ready(9));
}

#[test]
fn a_load_that_can_not_even_begin_leaves_the_lead_to_the_next() {
    let cache = cache(CacheConfig::default());
    let mut first = asking(&cache, unasked);
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut first))).is_err());
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);
    assert_eq!(at_once(cache.get_or_load(&1, || ok(3))).unwrap(), 3);
}

#[test]
fn what_is_set_or_removed_meanwhile_is_not_overwritten_by_an_older_load() {
    for set in [true, false] {
        let cache = cache(CacheConfig::default());
        let (send, receive) = oneshot::channel();
        let mut first = asking(&cache, || sent(receive));
        assert!(poll(&mut first).is_pending());
        if set {
            cache.set(1, 50);
        } else {
            cache.remove(&1);
        }
        send.send(7).unwrap();
        assert_eq!(poll(&mut first).map(Result::unwrap), Poll::Ready(7), "who waits has it");
        assert_eq!(cache.get(&1), set.then_some(50));
    }
}

#[test]
fn an_error_is_everybodys_and_the_next_one_asks_again() {
    let cache = cache(CacheConfig::default());
    let (send, receive) = oneshot::channel();
    let mut all = [asking(&cache, || sent(receive)), asking(&cache, unasked)];
    all.iter_mut().for_each(|one| assert!(poll(one).is_pending()));
    drop(send);
    for one in &mut all {
        let Poll::Ready(Err(error)) = poll(one) else { panic!("it failed") };
        assert_eq!(error.downcast_ref(), Some(&NoSuchThing));
    }
    assert_eq!(at_once(cache.get_or_load(&1, || ok(4))).unwrap(), 4);
}

#[test]
fn who_leads_by_itself_finishes_fails_or_hands_over() {
    let cache = cache(CacheConfig::default());
    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&1)) else { panic!("nothing is there") };
    let mut next = Box::pin(cache.get_or_lead(&1));
    let mut shares = asking(&cache, unasked);
    assert!(poll(&mut next).is_pending() && poll(&mut shares).is_pending());
    drop(lead);
    let Poll::Ready(Lookup::Lead(lead)) = poll(&mut next) else { panic!("handed over") };
    assert!(poll(&mut shares).is_pending());
    lead.finish(7);
    assert_eq!(poll(&mut shares).map(Result::unwrap), Poll::Ready(7));
    drop(next);

    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&2)) else { panic!("nothing is there") };
    let mut other = Box::pin(cache.get_or_lead(&2));
    assert!(poll(&mut other).is_pending());
    lead.fail(NoSuchThing);
    assert!(matches!(poll(&mut other), Poll::Ready(Lookup::Known(Err(_)))));
    let seen = cache.snapshot();
    assert_eq!((seen.loaded, seen.failed, seen.abandoned, seen.loading), (1, 1, 1, 0));
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);
}

#[test]
fn polled_once_and_dropped_nothing_is_lost() {
    let cache = cache(CacheConfig::default());
    for _ in 0..3 {
        let mut loading = asking(&cache, std::future::pending::<Result<u32, NoSuchThing>>);
        assert!(poll(&mut loading).is_pending());
        drop(loading);
        let Lookup::Lead(lead) = at_once(cache.get_or_lead(&1)) else { panic!("free again") };
        let mut waits = Box::pin(cache.get_or_lead(&1));
        assert!(poll(&mut waits).is_pending());
        drop((waits, lead));
    }
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);
    assert_eq!((cache.snapshot().abandoned, cache.snapshot().loading), (6, 0));
    let mut shutdown = Box::pin(cache.shutdown(std::time::Duration::ZERO));
    let _ = poll(&mut shutdown);
    drop(shutdown);
    assert_eq!(at_once(cache.get_or_load(&1, || ok(1))).unwrap(), 1);
}
