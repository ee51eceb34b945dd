//! Tables by hand polling and explicit `now`; beside them a naive model of the whole semaphore, and
//! threads.

mod model;
mod threads;

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::semaphore::Entry;
use super::waiting::Waiting;
use super::*;
use crate::Priority::{self, High, Low, Normal, Urgent};
use crate::ground::time::{self, Instant};

type Acquiring<'a> = Pin<Box<dyn Future<Output = Result<Permit<'a>, AcquireError>> + 'a>>;

fn semaphore(permits: usize) -> PrioritySemaphore {
    PrioritySemaphore::new(permits, SemaphoreConfig::default()).unwrap()
}

fn small(permits: usize, queue_capacity: usize) -> PrioritySemaphore {
    let config = SemaphoreConfig::default().with_queue_capacity(queue_capacity);
    PrioritySemaphore::new(permits, config).unwrap()
}

fn n(permits: u32) -> NonZeroU32 {
    NonZeroU32::new(permits).unwrap()
}

fn heavy(priority: Priority, permits: u32) -> Want {
    Want::new(priority).with_permits(n(permits))
}

/// Polled once: in line, or ended.
fn start<'a>(semaphore: &'a PrioritySemaphore, want: impl Into<Want> + 'a) -> Acquiring<'a> {
    let mut acquiring: Acquiring<'a> = Box::pin(semaphore.acquire(want));
    if let Poll::Ready(ended) = poll(&mut acquiring) {
        return Box::pin(std::future::ready(ended));
    }
    acquiring
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn ended<F: Future + Unpin>(future: &mut F) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("still waits"),
    }
}

fn wait_at(
    semaphore: &PrioritySemaphore,
    want: impl Into<Want>,
    now: Instant,
) -> Result<Waiting<'_>, AcquireError> {
    match semaphore.enter_at(want.into(), Waker::noop().clone(), now) {
        Ok(Entry::Waits(waiting)) => Ok(waiting),
        Ok(Entry::Granted(permits)) => panic!("granted {permits}"),
        Err(why) => Err(why),
    }
}

fn is_at_rest(semaphore: &PrioritySemaphore) {
    let s = semaphore.snapshot();
    assert_eq!((s.waiting(), s.in_use, s.available), (0, 0, s.permits), "{s:?}");
    is_exact(s);
}

fn is_exact(s: SemaphoreSnapshot) {
    let ended = s.granted + s.evicted + s.expired + s.cancelled + s.too_large + s.closed;
    assert_eq!(s.waited, ended + s.waiting() as u64, "{s:?}");
}

#[test]
fn impossible_configurations_are_named() {
    let config = SemaphoreConfig::default;
    let most = PrioritySemaphore::MAX_PERMITS;
    for (permits, config, field) in [
        (0, config(), "semaphore.permits"),
        (most + 1, config(), "semaphore.permits"),
        (1, config().with_queue_capacity(0), "semaphore.queue_capacity"),
        (1, config().with_queue_capacity(usize::MAX), "semaphore.queue_capacity"),
        (1, config().with_starvation_bound(0), "semaphore.starvation_bound"),
        (1, config().with_thresholds(crate::Thresholds::flat(1.5)), "semaphore.thresholds"),
    ] {
        let error = PrioritySemaphore::new(permits, config).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let largest = PrioritySemaphore::new(most, config().with_name("db")).unwrap();
    assert_eq!((largest.name(), largest.snapshot().available), ("db", most));
}

#[test]
fn futures_and_permits_go_to_other_threads() {
    fn goes<T: Send>(_: &T) {}
    let semaphore = Arc::new(semaphore(1));
    goes(&semaphore.acquire(Low));
    goes(&Arc::clone(&semaphore).acquire_owned(Low));
    goes(&Arc::clone(&semaphore).try_acquire_owned());
    goes(&semaphore.try_acquire());
    is_at_rest(&semaphore);
}

#[test]
fn permits_come_back_when_they_are_dropped() {
    let semaphore = semaphore(3);
    let two = semaphore.try_acquire_many(n(2)).unwrap();
    assert_eq!(two.permits(), n(2));
    assert!(semaphore.try_acquire_many(n(2)).is_none());
    let one = semaphore.try_acquire().unwrap();
    assert!(semaphore.try_acquire().is_none());
    drop((one, two));
    is_at_rest(&semaphore);
}

#[test]
fn higher_classes_first_and_first_in_first_out_inside_one() {
    let semaphore = semaphore(1);
    let mut permit = semaphore.try_acquire();
    let wants = [Low, Normal, High, Urgent, Low, Normal, High, Urgent];
    let mut waiters: Vec<_> = wants.iter().map(|&class| Some(start(&semaphore, class))).collect();
    for next in [3, 7, 2, 6, 1, 5, 0, 4] {
        drop(permit.take());
        let ready: Vec<usize> = (0..wants.len())
            .filter(|&i| match waiters[i].as_mut().map(poll) {
                Some(Poll::Ready(granted)) => {
                    permit = Some(granted.unwrap());
                    waiters[i] = None;
                    true
                }
                _ => false,
            })
            .collect();
        assert_eq!(ready, [next]);
    }
    drop(permit);
    is_at_rest(&semaphore);
}

#[test]
fn a_class_that_is_passed_over_gets_its_turn() {
    let config = SemaphoreConfig::default().with_starvation_bound(3);
    let semaphore = PrioritySemaphore::new(1, config).unwrap();
    let mut permit = semaphore.try_acquire();
    let mut low = start(&semaphore, Low);
    let mut urgent: VecDeque<_> = (0..5).map(|_| start(&semaphore, Urgent)).collect();
    for _ in 0..3 {
        drop(permit.take());
        assert!(poll(&mut low).is_pending());
        permit = Some(ended(&mut urgent.pop_front().unwrap()).unwrap());
    }
    drop(permit);
    assert!(poll(urgent.front_mut().unwrap()).is_pending());
    drop(ended(&mut low).unwrap());
    urgent.clear();
    is_at_rest(&semaphore);
}

#[test]
fn tenants_of_a_class_take_turns() {
    let semaphore = semaphore(1);
    let mut permit = semaphore.try_acquire();
    let of = |tenant: &str| Want::new(Normal).with_tenant(tenant);
    let mut many: VecDeque<_> = (0..4).map(|_| start(&semaphore, of("many"))).collect();
    let mut one = start(&semaphore, of("one"));
    drop(permit.take());
    permit = Some(ended(&mut many.pop_front().unwrap()).unwrap());
    drop(permit.take());
    drop(ended(&mut one).unwrap());
    drop(many);
    is_at_rest(&semaphore);
}

#[test]
fn who_does_not_wait_never_goes_before_a_waiter() {
    let semaphore = semaphore(2);
    let permit = semaphore.try_acquire().unwrap();
    let mut two = start(&semaphore, heavy(Normal, 2));
    assert!(semaphore.try_acquire().is_none(), "one is free, but somebody waits");
    let mut low = start(&semaphore, Low);
    let mut equal = start(&semaphore, Normal);
    assert!(poll(&mut low).is_pending() && poll(&mut equal).is_pending());
    let mut urgent = start(&semaphore, Urgent);
    let urgent = ended(&mut urgent).unwrap();
    drop((permit, urgent));
    assert!(poll(&mut low).is_pending() && poll(&mut equal).is_pending());
    drop(ended(&mut two).unwrap());
    drop((ended(&mut equal).unwrap(), ended(&mut low).unwrap()));
    is_at_rest(&semaphore);
}

#[test]
fn nobody_is_evicted_for_one_who_goes_first_anyway() {
    let semaphore = small(2, 1);
    let permit = semaphore.try_acquire().unwrap();
    let mut two = start(&semaphore, heavy(Low, 2));
    let mut urgent = start(&semaphore, Urgent);
    drop(ended(&mut urgent).unwrap());
    assert!(poll(&mut two).is_pending());
    drop(permit);
    assert_eq!(ended(&mut two).unwrap().permits(), n(2));
    is_at_rest(&semaphore);
}

#[test]
fn a_full_line_evicts_the_least_important_and_tells_it() {
    let semaphore = small(1, 2);
    let permit = semaphore.try_acquire().unwrap();
    let mut low = start(&semaphore, Low);
    let mut high = start(&semaphore, High);
    assert_eq!(ended(&mut start(&semaphore, Low)).err(), Some(AcquireError::Full));
    let mut urgent = start(&semaphore, Urgent);
    assert_eq!(ended(&mut low).err(), Some(AcquireError::Evicted));
    assert!(poll(&mut high).is_pending());
    drop(permit);
    drop(ended(&mut urgent).unwrap());
    drop(ended(&mut high).unwrap());
    is_at_rest(&semaphore);
    let s = semaphore.snapshot();
    assert_eq!((s.waited, s.granted, s.evicted, s.refused), (3, 2, 1, 1));
}

#[test]
fn what_can_never_be_granted_is_too_large_at_once() {
    let semaphore = semaphore(2);
    let held = semaphore.try_acquire().unwrap();
    assert_eq!(ended(&mut start(&semaphore, heavy(Low, 3))).err(), Some(AcquireError::TooLarge));
    assert!(semaphore.try_acquire_many(n(3)).is_none());
    drop(held);
    is_at_rest(&semaphore);
}

#[test]
fn a_deadline_ends_the_waiter_and_lets_the_next_in() {
    let semaphore = semaphore(2);
    let now = time::now();
    let soon = now + Duration::from_millis(5);
    let _held = semaphore.try_acquire().unwrap();
    let want = heavy(Normal, 2).with_deadline(soon);
    let expiring = wait_at(&semaphore, want, now).unwrap();
    let mut next = wait_at(&semaphore, Low, now).unwrap();
    assert_eq!(expiring.expire_at(soon), Err(AcquireError::Expired));
    let permits = ended(&mut next).unwrap();
    drop(Permit::new(&semaphore, permits));
    assert_eq!(semaphore.snapshot().expired, 1);
    assert_eq!(wait_at(&semaphore, want, soon).err(), Some(AcquireError::Expired));
}

#[test]
fn an_expired_head_that_has_not_noticed_stops_nobody() {
    let semaphore = semaphore(2);
    let now = time::now();
    let soon = now + Duration::from_millis(5);
    let held = semaphore.try_acquire().unwrap();
    let mut expired = wait_at(&semaphore, heavy(High, 2).with_deadline(soon), now).unwrap();
    let entered = wait_at(&semaphore, Normal, soon).unwrap();
    assert_eq!(ended(&mut expired), Err(AcquireError::Expired));
    let permits = { entered }.expire_at(soon).unwrap();
    drop((Permit::new(&semaphore, permits), held));
    is_at_rest(&semaphore);
}

#[test]
fn a_grant_that_came_before_the_timer_stands() {
    let semaphore = semaphore(1);
    let now = time::now();
    let soon = now + Duration::from_secs(3600);
    let held = semaphore.try_acquire().unwrap();
    let waiting = wait_at(&semaphore, Want::new(Low).with_deadline(soon), now).unwrap();
    drop(held);
    let permits = waiting.expire_at(soon).unwrap();
    drop(Permit::new(&semaphore, permits));
    is_at_rest(&semaphore);
}

#[test]
fn growing_serves_the_line() {
    let semaphore = semaphore(1);
    let held = semaphore.try_acquire().unwrap();
    let mut waiters: Vec<_> = (0..100).map(|_| start(&semaphore, Normal)).collect();
    semaphore.resize(100);
    let granted = waiters.iter_mut().filter_map(|w| match poll(w) {
        Poll::Ready(permit) => Some(permit.unwrap()),
        Poll::Pending => None,
    });
    let granted: Vec<_> = granted.collect();
    assert_eq!(granted.len(), 99, "in batches, but all that fit");
    assert_eq!(semaphore.snapshot().waiting(), 1);
    drop((held, granted));
    drop(waiters);
    is_at_rest(&semaphore);
}

#[test]
fn shrinking_below_what_is_out_waits_for_it() {
    let semaphore = semaphore(4);
    let mut held: Vec<_> = (0..4).map(|_| semaphore.try_acquire().unwrap()).collect();
    semaphore.resize(2);
    let s = semaphore.snapshot();
    assert_eq!((s.permits, s.available, s.in_use), (2, 0, 4));
    let mut waiter = start(&semaphore, Urgent);
    for _ in 0..2 {
        held.pop();
        assert!(poll(&mut waiter).is_pending() && semaphore.try_acquire().is_none());
    }
    held.pop();
    drop(ended(&mut waiter).unwrap());
    drop(held);
    is_at_rest(&semaphore);
}

#[test]
fn shrinking_below_a_waiter_ends_it_too_large_and_serves_the_next() {
    let semaphore = semaphore(4);
    let _held = semaphore.try_acquire_many(n(2)).unwrap();
    let mut heavy = start(&semaphore, heavy(High, 4));
    let mut light = start(&semaphore, Low);
    semaphore.resize(3);
    assert_eq!(ended(&mut heavy).err(), Some(AcquireError::TooLarge));
    drop(ended(&mut light).unwrap());
    semaphore.resize(0);
    assert_eq!(semaphore.snapshot().permits, 1, "clamped");
    semaphore.resize(usize::MAX);
    assert_eq!(semaphore.snapshot().permits, PrioritySemaphore::MAX_PERMITS);
}

#[test]
fn closing_ends_the_waiters_and_permits_still_come_back() {
    let semaphore = semaphore(1);
    let held = semaphore.try_acquire().unwrap();
    let mut waiter = start(&semaphore, Low);
    semaphore.close();
    semaphore.close();
    assert!(semaphore.is_closed());
    assert_eq!(ended(&mut waiter).err(), Some(AcquireError::Closed));
    assert_eq!(ended(&mut start(&semaphore, Urgent)).err(), Some(AcquireError::Closed));
    drop(held);
    assert!(semaphore.try_acquire().is_none());
    let past = Want::new(Low).with_deadline(time::now());
    assert_eq!(ended(&mut start(&semaphore, past)).err(), Some(AcquireError::Closed));
    is_at_rest(&semaphore);
}

#[test]
fn acquire_polled_once_and_dropped_leaves_nothing_behind() {
    let semaphore = semaphore(2);
    let held = semaphore.try_acquire().unwrap();
    let unpolled = semaphore.acquire(Low);
    drop(unpolled);
    let head = start(&semaphore, heavy(High, 2));
    let mut behind = start(&semaphore, Low);
    drop(head);
    drop(ended(&mut behind).unwrap());
    let granted_unseen = start(&semaphore, heavy(High, 2));
    let mut behind = start(&semaphore, Low);
    drop(held);
    assert!(poll(&mut behind).is_pending());
    drop(granted_unseen);
    drop(ended(&mut behind).unwrap());
    is_at_rest(&semaphore);
    assert_eq!(semaphore.snapshot().cancelled, 1, "the other one had been granted");
}

#[test]
fn acquire_owned_polled_once_and_dropped_leaves_nothing_behind() {
    let semaphore = Arc::new(semaphore(1));
    let own = || Box::pin(Arc::clone(&semaphore).acquire_owned(Normal));
    let held = ended(&mut own()).unwrap();
    assert_eq!(held.permits(), n(1));
    let mut dropped = own();
    let mut kept = own();
    assert!(poll(&mut dropped).is_pending() && poll(&mut kept).is_pending());
    drop(held);
    drop(dropped);
    drop(ended(&mut kept).unwrap());
    is_at_rest(&semaphore);
    drop(kept);
    assert_eq!(Arc::strong_count(&semaphore), 1);
}

/// Looks at the semaphore when it is woken and when it is dropped: under the lock of the line
/// either would hang.
struct Curious(Arc<PrioritySemaphore>);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        is_exact(self.0.snapshot());
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        is_exact(self.0.snapshot());
    }
}

#[test]
fn no_waker_is_woken_or_dropped_under_the_lock() {
    let semaphore = Arc::new(small(3, 4));
    let mut held = semaphore.try_acquire_many(n(3));
    let curious = |want: Want| {
        let mut waiter = Box::pin(semaphore.acquire(want));
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Curious(Arc::clone(&semaphore))));
            assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        waiter
    };
    let mut waiters: Vec<_> = (0..4).map(|_| curious(Want::new(Low))).collect();
    waiters.truncate(3);
    let mut urgent: Vec<_> = (0..3).map(|_| curious(Want::new(Urgent))).collect();
    urgent.push(curious(heavy(Urgent, 3)));
    drop(held.take());
    semaphore.resize(2);
    semaphore.close();
    drop((waiters, urgent));
    is_at_rest(&semaphore);
}

/// The timer of a waiter, on paused time.
#[cfg(feature = "test-util")]
mod timed {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_the_wait_to_the_millisecond() {
        let semaphore = semaphore(1);
        let held = semaphore.try_acquire().unwrap();
        let began = time::now();
        let want = Want::new(Urgent).with_deadline(began + Duration::from_millis(250));
        assert_eq!(semaphore.acquire(want).await.err(), Some(AcquireError::Expired));
        let took = time::now() - began;
        assert!((250..=252).contains(&took.as_millis()), "{took:?}");
        assert_eq!(semaphore.acquire(want).await.err(), Some(AcquireError::Expired));
        drop(held);
        assert_eq!(semaphore.acquire(want).await.err(), Some(AcquireError::Expired));
        is_at_rest(&semaphore);
        assert_eq!(semaphore.snapshot().expired, 1, "only one stood in line");
    }

    /// Of two classes that wait just as long, the one that opted in.
    #[tokio::test(start_paused = true)]
    async fn a_line_that_stands_sheds_the_old_of_its_class_and_serves_the_newest() {
        let overload = crate::Overload::default().with(Low, crate::CoDel::default());
        let config = SemaphoreConfig::default().with_overload(overload);
        let semaphore = PrioritySemaphore::new(1, config).unwrap();
        let ms = |ms| tokio::time::advance(Duration::from_millis(ms));
        let mut held = semaphore.try_acquire();
        let mut normal = start(&semaphore, Normal);
        let mut low: Vec<_> = (0..40).map(|_| start(&semaphore, Low)).collect();
        ms(6).await;
        drop(held.take());
        held = Some(ended(&mut normal).unwrap());
        ms(1).await;
        drop(held.take());
        held = Some(ended(&mut low[0]).unwrap());
        ms(101).await;
        let mut newest = start(&semaphore, Low);
        drop(held.take());
        drop(ended(&mut newest).unwrap());
        drop(ended(&mut low[39]).expect("the last one of a class is served"));
        let shed =
            low[1..39].iter_mut().map(ended).all(|end| end.err() == Some(AcquireError::Evicted));
        assert!(shed, "more than are shed for one grant, but two were granted");
        is_at_rest(&semaphore);
        assert_eq!(semaphore.snapshot().evicted, 38);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_before_the_deadline_is_kept() {
        let semaphore = Arc::new(semaphore(1));
        let held = Arc::clone(&semaphore).acquire_owned(Low).await.unwrap();
        let want = Want::new(Low).with_deadline(time::now() + Duration::from_millis(250));
        let giver = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(held);
        };
        let (permit, ()) = tokio::join!(semaphore.acquire(want), giver);
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(permit.unwrap());
        is_at_rest(&semaphore);
    }
}

#[tokio::test]
async fn a_deadline_at_the_end_of_time_is_as_good_as_none() {
    let mut last = Instant::now();
    let mut step = Duration::from_secs(1 << 62);
    while step >= Duration::from_secs(1) {
        last = last.checked_add(step).unwrap_or_else(|| {
            step /= 2;
            last
        });
    }
    let semaphore = PrioritySemaphore::new(1, SemaphoreConfig::default()).unwrap();
    let permit = semaphore.try_acquire().unwrap();
    let waits = semaphore.acquire(Want::default().with_deadline(last));
    let frees = async {
        tokio::task::yield_now().await;
        drop(permit);
    };
    assert!(tokio::join!(biased; waits, frees).0.is_ok());
}
