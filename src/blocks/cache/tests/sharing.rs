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

/// Who waited for a load that a `set` has overtaken has the newer value when that load comes to
/// nothing, and begins no other.
#[test]
fn whoever_inherits_an_overtaken_load_looks_again() {
    let cache = cache(CacheConfig::default());
    let never = std::future::pending::<Result<u32, NoSuchThing>>;
    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&1)) else { panic!("nothing is there") };
    let mut waits = asking(&cache, unasked);
    let mut leads = Box::pin(cache.get_or_lead(&1));
    assert!(poll(&mut waits).is_pending() && poll(&mut leads).is_pending());
    cache.set(1, 50);
    drop(lead);
    assert_eq!(poll(&mut waits).map(Result::unwrap), Poll::Ready(50));
    assert!(matches!(poll(&mut leads), Poll::Ready(Lookup::Known(Ok(50)))));

    // After a `remove` it joins the one that began then.
    let Lookup::Lead(lead) = at_once(cache.get_or_lead(&2)) else { panic!("nothing is there") };
    let other = cache.clone();
    let mut waits = Box::pin(async move { other.get_or_load(&2, unasked).await });
    assert!(poll(&mut waits).is_pending());
    cache.remove(&2);
    let Lookup::Lead(newer) = at_once(cache.get_or_lead(&2)) else { panic!("it was removed") };
    drop(lead);
    assert!(poll(&mut waits).is_pending());
    newer.finish(7);
    assert_eq!(poll(&mut waits).map(Result::unwrap), Poll::Ready(7));
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);

    // One who is overtaken before it is first polled, too.
    let mut early = asking(&cache, never);
    cache.remove(&1);
    assert!(poll(&mut early).is_pending());
    drop(early);
    assert_eq!(cache.table.flights.lock().by_key.len(), 0);
}

/// Calls back when it is hashed so many times.
struct Hooked;

type Hook = std::cell::RefCell<Option<(u32, Box<dyn Fn()>)>>;

thread_local! {
    static IS_CALLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static HOOK: Hook = const { std::cell::RefCell::new(None) };
}

impl std::hash::Hash for Hooked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u8(1);
        let mut hook = HOOK.take();
        match &mut hook {
            Some((0, _)) => {}
            Some((left, _)) => {
                *left -= 1;
                return HOOK.set(hook);
            }
            None => return,
        }
        // It is called once.
        if let Some((_, call)) = hook {
            // Keys are hashed under locks: what is dropped in here is the hook's own doing.
            IS_CALLED.set(true);
            call();
            IS_CALLED.set(false);
        }
    }
}

impl PartialEq for Hooked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Hooked {}

impl Clone for Hooked {
    fn clone(&self) -> Self {
        Self
    }
}

/// Complains when it is dropped while the flights are locked.
#[derive(Clone)]
struct Probe(Arc<dyn Fn() -> bool + Send + Sync>, Arc<AtomicUsize>);

impl Drop for Probe {
    fn drop(&mut self) {
        if (self.0)() {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// While it is replaced, somebody else finds the old value expired, takes it out, and drops it: then
/// whoever replaces it is the last one who holds it.
#[test]
fn no_value_is_dropped_under_a_lock_whoever_takes_it_out_meanwhile() {
    for at in 0..6 {
        let ttl = std::time::Duration::from_secs(1);
        let cache: Cache<Hooked, Probe> =
            Cache::new(CacheConfig::default().with_ttl(Some(ttl))).unwrap();
        let under_lock = Arc::new(AtomicUsize::new(0));
        let table = Arc::downgrade(&cache.table);
        let is_locked = move || {
            let locked =
                |it: Arc<super::super::table::Table<_, _>>| it.flights.try_lock().is_none();
            !IS_CALLED.get() && table.upgrade().is_some_and(locked)
        };
        let probe = Probe(Arc::new(is_locked), Arc::clone(&under_lock));
        let now = crate::ground::time::now();
        cache.set_at(Hooked, probe.clone(), now);
        let other = cache.clone();
        let later = now.checked_add(3 * ttl).unwrap();
        HOOK.set(Some((at, Box::new(move || drop(other.get_at(&Hooked, later))))));
        cache.set_at(Hooked, probe.clone(), now);
        HOOK.set(None);
        assert_eq!(under_lock.load(Ordering::Relaxed), 0, "at hash {at}");
    }
}

/// What is replaced or evicted is gone before the next one comes.
#[test]
fn many_that_are_set_hold_no_more_than_one_that_is_not_there() {
    let cache: Cache<u32, Arc<()>> =
        Cache::new(CacheConfig::default().with_capacity(8).with_shards(1)).unwrap();
    let value = Arc::new(());
    let mut most = 0;
    cache.set_many((0..1_000).map(|key| {
        most = most.max(Arc::strong_count(&value));
        (key, Arc::clone(&value))
    }));
    assert!(most <= 12, "{most} at once");
}

/// A task that is given to a runtime that has ended is dropped at once.
#[test]
fn a_renewal_is_not_dropped_under_the_lock_when_its_runtime_has_ended() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _inside = handle.enter();
    let renewals = Arc::new(super::super::renewals::Renewals::new(1));
    let under_lock = Arc::new(AtomicUsize::new(0));
    let weak = Arc::downgrade(&renewals);
    let is_locked = move || weak.upgrade().is_some_and(|it| it.tasks.try_lock().is_none());
    let probe = Probe(Arc::new(is_locked), Arc::clone(&under_lock));
    let begun = renewals.begin(move || {
        Some(async move {
            std::future::pending::<()>().await;
            drop(probe);
        })
    });
    assert_eq!(begun, super::super::renewals::Begun::Yes);
    assert_eq!(under_lock.load(Ordering::Relaxed), 0);
}
