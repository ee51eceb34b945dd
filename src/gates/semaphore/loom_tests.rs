//! Every interleaving of the hand-rolled parts: the word beside the lock, the stripes, and the
//! waiter's cell.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Waker;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::semaphore::Entry;
use super::waiting::Waiting;
use super::word::Took;
use super::*;
use crate::Priority::{self, High, Low, Urgent};
use crate::ground::loom_tests::block_on;
use crate::ground::time;

fn semaphore(permits: usize, queue_capacity: usize) -> Arc<PrioritySemaphore> {
    let config = SemaphoreConfig::default().with_queue_capacity(queue_capacity);
    Arc::new(PrioritySemaphore::new(permits, config).unwrap())
}

fn owned(semaphore: &Arc<PrioritySemaphore>) -> OwnedPermit {
    block_on(Arc::clone(semaphore).acquire_owned(Urgent)).unwrap()
}

/// In line, not polled yet.
fn waiting(semaphore: &PrioritySemaphore, class: Priority) -> Waiting<'_> {
    match semaphore.enter_at(Want::new(class), Waker::noop().clone(), time::now()) {
        Ok(Entry::Waits(waiting)) => waiting,
        other => panic!("{other:?}"),
    }
}

/// Waits to the end, and gives back what it got.
fn end(semaphore: &PrioritySemaphore, waiting: Waiting<'_>) -> Result<(), AcquireError> {
    block_on(waiting).map(|permits| drop(Permit::new(semaphore, permits)))
}

fn acquire(semaphore: &PrioritySemaphore, want: impl Into<Want>) -> Result<(), AcquireError> {
    block_on(semaphore.acquire(want)).map(drop)
}

fn is_at_rest(semaphore: &PrioritySemaphore) {
    let s = semaphore.snapshot();
    assert_eq!((s.waiting(), s.in_use, s.available), (0, 0, s.permits));
    let ended = s.granted + s.evicted + s.expired + s.cancelled + s.too_large + s.closed;
    assert_eq!(s.waited, ended);
    let open = !semaphore.is_closed();
    assert_eq!(semaphore.try_acquire().is_some(), open, "the fast path is open again");
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn loom_a_release_beside_a_slow_acquire_is_not_lost() {
    model(|| {
        let semaphore = semaphore(1, 4);
        let permit = owned(&semaphore);
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || acquire(&semaphore, Low)
        });
        drop(permit);
        assert_eq!(other.join().unwrap(), Ok(()));
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_what_is_done_under_a_permit_is_seen_under_the_next() {
    model(|| {
        let semaphore = semaphore(1, 4);
        let done = Arc::new(AtomicUsize::new(0));
        let work = {
            let (semaphore, done) = (Arc::clone(&semaphore), Arc::clone(&done));
            move || {
                let permit = block_on(semaphore.acquire(Low)).unwrap();
                // No read-modify-write: two at once would lose one.
                done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                drop(permit);
            }
        };
        let other = thread::spawn(work.clone());
        work();
        other.join().unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 2);
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_a_permit_drop_beside_an_eviction() {
    model(|| {
        let semaphore = semaphore(1, 1);
        let permit = owned(&semaphore);
        let low = waiting(&semaphore, Low);
        let dropper = thread::spawn(move || drop(permit));
        let urgent = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || acquire(&semaphore, Urgent)
        });
        let ended = end(&semaphore, low);
        assert!(matches!(ended, Ok(()) | Err(AcquireError::Evicted)), "{ended:?}");
        assert_eq!(urgent.join().unwrap(), Ok(()));
        dropper.join().unwrap();
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_a_waiter_dropped_beside_its_grant_serves_the_next() {
    model(|| {
        let semaphore = semaphore(1, 4);
        let permit = owned(&semaphore);
        let first = waiting(&semaphore, High);
        let second = waiting(&semaphore, Low);
        let dropper = thread::spawn(move || drop(permit));
        drop(first);
        assert_eq!(end(&semaphore, second), Ok(()));
        dropper.join().unwrap();
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_a_waiter_dropped_beside_its_eviction() {
    model(|| {
        let semaphore = semaphore(1, 1);
        let permit = owned(&semaphore);
        let low = waiting(&semaphore, Low);
        let urgent = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || acquire(&semaphore, Urgent)
        });
        drop(low);
        drop(permit);
        assert_eq!(urgent.join().unwrap(), Ok(()));
        let s = semaphore.snapshot();
        assert_eq!(s.evicted + s.cancelled, 1, "it left once");
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_growing_beside_an_acquire() {
    model(|| {
        let semaphore = semaphore(1, 4);
        let permit = owned(&semaphore);
        let grower = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.resize(2)
        });
        assert_eq!(acquire(&semaphore, Low), Ok(()));
        grower.join().unwrap();
        drop(permit);
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_shrinking_beside_a_heavy_and_a_light_acquire() {
    model(|| {
        let semaphore = semaphore(2, 4);
        let shrinker = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.resize(1)
        });
        let light = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || acquire(&semaphore, Low)
        });
        let two = NonZeroU32::new(2).unwrap();
        let heavy = acquire(&semaphore, Want::new(High).with_permits(two));
        assert!(matches!(heavy, Ok(()) | Err(AcquireError::TooLarge)), "{heavy:?}");
        assert_eq!(light.join().unwrap(), Ok(()));
        shrinker.join().unwrap();
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_closing_beside_an_acquire_and_a_release() {
    model(|| {
        let semaphore = semaphore(1, 4);
        let permit = owned(&semaphore);
        let closer = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.close()
        });
        let dropper = thread::spawn(move || drop(permit));
        let ended = acquire(&semaphore, Low);
        assert!(matches!(ended, Ok(()) | Err(AcquireError::Closed)), "{ended:?}");
        closer.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(acquire(&semaphore, Low), Err(AcquireError::Closed));
        is_at_rest(&semaphore);
    });
}

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// Two permits, of which one is lent to the first stripe. The threads of a model have the same
/// number: stripes are named by hand.
fn lent() -> Arc<PrioritySemaphore> {
    let semaphore = semaphore(2, 4);
    semaphore.lend(0);
    semaphore
}

/// Beside the lock, at the first stripe: takes, if it can, and gives back.
fn use_stripe(semaphore: &Arc<PrioritySemaphore>) -> thread::JoinHandle<Took> {
    let semaphore = Arc::clone(semaphore);
    thread::spawn(move || {
        let took = semaphore.try_take(0, ONE);
        if took == Took::Taken {
            semaphore.give_back(0, ONE);
        }
        took
    })
}

#[test]
fn loom_a_lent_permit_beside_one_who_waits_for_all() {
    model(|| {
        let semaphore = lent();
        let user = use_stripe(&semaphore);
        let two = Want::new(Low).with_permits(NonZeroU32::new(2).unwrap());
        assert_eq!(acquire(&semaphore, two), Ok(()));
        assert!(matches!(user.join().unwrap(), Took::Taken | Took::Look | Took::Wait));
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_who_would_not_wait_is_never_refused_a_free_permit() {
    model(|| {
        let semaphore = lent();
        let user = use_stripe(&semaphore);
        let taker = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.try_acquire().is_some()
        });
        assert!(taker.join().unwrap(), "two permits, and one other user");
        let _ = user.join().unwrap();
        is_at_rest(&semaphore);
    });
}

/// What he gave lies in a stripe that was just lent to: he knows that something is lent.
#[test]
fn loom_who_gave_to_a_stripe_is_not_refused() {
    model(|| {
        let semaphore = semaphore(2, 4);
        assert_eq!(semaphore.try_take(5, ONE), Took::Taken);
        let lender = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.lend(5)
        });
        semaphore.give_back(5, ONE);
        let two = NonZeroU32::new(2).unwrap();
        assert!(semaphore.try_acquire_many(two).is_some(), "both are free");
        lender.join().unwrap();
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_a_loan_beside_an_acquire() {
    model(|| {
        let semaphore = semaphore(2, 4);
        let lender = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.lend(0)
        });
        let user = use_stripe(&semaphore);
        let two = Want::new(Low).with_permits(NonZeroU32::new(2).unwrap());
        assert_eq!(acquire(&semaphore, two), Ok(()));
        lender.join().unwrap();
        let _ = user.join().unwrap();
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_shrinking_beside_a_lent_permit_leaves_one_holder() {
    model(|| {
        let semaphore = lent();
        let out = Arc::new(AtomicUsize::new(0));
        let holders = [0, 1].map(|stripe| {
            let (semaphore, out) = (Arc::clone(&semaphore), Arc::clone(&out));
            thread::spawn(move || {
                if semaphore.try_take(stripe, ONE) == Took::Taken {
                    out.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        semaphore.resize(1);
        let before = out.load(Ordering::SeqCst);
        for holder in holders {
            holder.join().unwrap();
        }
        let after = out.load(Ordering::SeqCst);
        let s = semaphore.snapshot();
        assert_eq!((s.permits, s.in_use), (1, after));
        assert!(before <= after && after <= 2);
        if after > 0 {
            assert!(semaphore.try_acquire().is_none(), "as many out as there are");
        }
    });
}

#[test]
fn loom_after_a_close_no_stripe_grants() {
    model(|| {
        let semaphore = lent();
        let user = use_stripe(&semaphore);
        semaphore.close();
        assert_eq!(semaphore.try_take(0, ONE), Took::Closed);
        let _ = user.join().unwrap();
        is_at_rest(&semaphore);
    });
}

#[test]
fn loom_what_is_done_under_a_lent_permit_is_seen_under_the_next() {
    model(|| {
        let semaphore = lent();
        // The other one stays out: what is lent is all there is.
        assert_eq!(semaphore.try_take(1, ONE), Took::Taken);
        let done = Arc::new(AtomicUsize::new(0));
        let work = |stripe| {
            let (semaphore, done) = (Arc::clone(&semaphore), Arc::clone(&done));
            move || {
                if semaphore.try_take(stripe, ONE) == Took::Taken {
                    // No read-modify-write: two at once would lose one.
                    done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    semaphore.give_back(stripe, ONE);
                    return 1;
                }
                0
            }
        };
        let here = thread::spawn(work(0));
        let permit = block_on(semaphore.acquire(High)).unwrap();
        done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        drop(permit);
        let counted = 1 + here.join().unwrap();
        assert_eq!(done.load(Ordering::Relaxed), counted);
        semaphore.give_back(1, ONE);
        is_at_rest(&semaphore);
    });
}
