//! The word, and the line in front of it, by every interleaving.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::line::Step;
use super::waiting::Waiting;
use super::*;
use crate::ground::priority::Priority::Normal;
use crate::ground::time::{self, Instant};

const DAY: Duration = Duration::from_secs(86_400);

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn waker() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    (woken.clone(), Waker::from(woken))
}

fn limiter(burst: u32) -> (Arc<RateLimiter>, Instant) {
    let now = time::now();
    let quota = Quota::new(1, DAY).with_burst(burst);
    (Arc::new(RateLimiter::new(quota).unwrap()), now)
}

/// Three want two tokens each of a bucket of four, one gives two back.
#[test]
fn loom_takes_and_refunds_add_up() {
    loom::model(|| {
        let (limiter, now) = limiter(4);
        limiter.try_acquire_at(2, now).unwrap();
        let other = limiter.clone();
        let taking = thread::spawn(move || u32::from(other.try_acquire_at(2, now).is_ok()));
        limiter.refund_at(2, now);
        let mine = u32::from(limiter.try_acquire_at(2, now).is_ok());
        let theirs = taking.join().unwrap();
        assert_eq!(mine + theirs, 2, "four were left");
        assert!(limiter.try_acquire_at(1, now).is_err());
    });
}

/// A refused tier leaves the other as it was, whoever comes between.
#[test]
fn loom_two_tiers_commit_together() {
    loom::model(|| {
        let now = time::now();
        let config = TieredQuota::default()
            .with_global(Quota::new(1, DAY).with_burst(3))
            .with_per_key(Quota::new(1, DAY).with_burst(2));
        let limiter = Arc::new(TieredRateLimiter::<u8>::new(config).unwrap());
        let other = limiter.clone();
        let taking = thread::spawn(move || u32::from(other.try_acquire_at(&1, 2, now).is_ok()));
        let mine = u32::from(limiter.try_acquire_at(&2, 2, now).is_ok());
        let theirs = taking.join().unwrap();
        assert_eq!(mine + theirs, 1);
        let (had, had_not) = if mine == 1 { (2, 1) } else { (1, 2) };
        assert!(limiter.try_acquire_at(&had, 1, now).is_err(), "the key is spent");
        assert!(limiter.try_acquire_at(&had_not, 1, now).is_ok(), "this one isn't");
        assert!(limiter.try_acquire_at(&3, 1, now).is_err(), "all are spent");
    });
}

/// The head leaves while the next one looks: it is the head then, or is woken to become it.
#[test]
fn loom_the_head_hands_over() {
    loom::model(|| {
        let (limiter, now) = limiter(1);
        limiter.try_acquire_at(1, now).unwrap();
        let other = limiter.clone();
        let leaving = thread::spawn(move || {
            let mut head = Waiting::new(&other, 1, Normal, None);
            let _ = head.step(&waker().1, now);
            drop(head);
        });
        let (woken, my_waker) = waker();
        let mut next = Waiting::new(&limiter, 1, Normal, None);
        let first = next.step(&my_waker, now);
        leaving.join().unwrap();
        if matches!(first, Step::Wait) {
            assert!(woken.0.load(Ordering::SeqCst), "nobody told it");
        }
        assert!(matches!(next.step(&my_waker, now), Step::Until(_)), "it has the timer");
        assert!(matches!(next.step(&my_waker, now + DAY), Step::Done(Ok(()))));
        assert_eq!(limiter.snapshot().waiting, 0);
    });
}

/// A refund comes while the head looks at the bucket: it takes the token, or is woken to.
#[test]
fn loom_a_refund_reaches_the_head() {
    loom::model(|| {
        let (limiter, now) = limiter(1);
        limiter.try_acquire_at(1, now).unwrap();
        let other = limiter.clone();
        let refunding = thread::spawn(move || other.refund_at(1, now));
        let (woken, my_waker) = waker();
        let mut waiting = Waiting::new(&limiter, 1, Normal, None);
        let first = waiting.step(&my_waker, now);
        refunding.join().unwrap();
        if !matches!(first, Step::Done(Ok(()))) {
            assert!(woken.0.load(Ordering::SeqCst), "nobody told it");
            assert!(matches!(waiting.step(&my_waker, now), Step::Done(Ok(()))));
        }
    });
}

/// A quota in other units comes while somebody takes: no token more, and none is lost but by rounding.
#[test]
fn loom_a_changed_quota_gives_and_takes_nothing() {
    loom::model(|| {
        let (limiter, now) = limiter(4);
        let other = limiter.clone();
        let taking = thread::spawn(move || other.try_acquire_at(2, now).is_ok());
        limiter.set_quota_at(Quota::per_second(10_000).with_burst(8), now).unwrap();
        let mine = limiter.try_acquire_at(2, now).is_ok();
        assert!(taking.join().unwrap() && mine);
        assert!(limiter.try_acquire_at(1, now).is_err());
        assert!(limiter.try_acquire_at(1, now + Duration::from_micros(100)).is_ok());
    });
}

/// As many changes as there are places for quotas come while somebody takes, and the clock stands
/// still: a full bucket is told by the last quota as by the first, and so was its word. He takes by
/// the first, and all of it, or by one after; never by the first what the last holds.
#[test]
fn loom_a_taker_sleeps_over_four_changes() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.check(|| {
        let (limiter, now) = limiter(4);
        let other = limiter.clone();
        let taking = thread::spawn(move || other.try_acquire_at(4, now).is_ok());
        for burst in [4, 4, 4, 2] {
            limiter.set_quota_at(Quota::per_second(10_000).with_burst(burst), now).unwrap();
        }
        let took = taking.join().unwrap();
        assert_eq!(limiter.try_acquire_at(1, now).is_ok(), !took);
    });
}

/// One token is there by every quota: nobody who asks for it is refused, whichever he reads.
#[test]
fn loom_a_refusal_is_by_the_quota_of_its_word() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.check(|| {
        let (limiter, now) = limiter(4);
        limiter.try_acquire_at(3, now).unwrap();
        let other = limiter.clone();
        let taking = thread::spawn(move || other.try_acquire_at(1, now).is_ok());
        for at in 1..=4_u32 {
            let quota =
                if at.is_multiple_of(2) { Quota::new(1, DAY) } else { Quota::per_second(10_000) };
            limiter.set_quota_at(quota.with_burst(4 + at), now).unwrap();
        }
        assert!(taking.join().unwrap());
    });
}

fn leased(burst: u32) -> (Arc<RateLimiter>, Instant) {
    let now = time::now();
    let config = RateLimiterConfig::from(Quota::new(burst, DAY)).with_tokens(Tokens::Leased);
    (Arc::new(RateLimiter::new(config).unwrap()), now)
}

fn take(limiter: &RateLimiter, stripe: usize, cost: u32, now: Instant) -> bool {
    let leases = limiter.leases.as_ref().unwrap();
    limiter.take_leased(leases, stripe, cost, now).is_ok()
}

/// Two of one stripe, and one that wants more than is left beside the leases: together all that is
/// there, never more, and never more leased than is carved out.
#[test]
fn loom_leases_hold_what_is_carved_out_and_lose_nothing() {
    for stripes in [[0, 0], [0, 1]] {
        loom::model(move || {
            let (limiter, now) = leased(128);
            let other = limiter.clone();
            let taking = thread::spawn(move || take(&other, stripes[0], 1, now));
            assert!(take(&limiter, stripes[1], 1, now));
            let most = if stripes[0] == stripes[1] { 4 } else { 8 };
            assert!(limiter.leases.as_ref().unwrap().held() <= most);
            assert!(taking.join().unwrap());
            assert!(limiter.take(94, now).is_ok(), "none is lost");
            assert!(limiter.take(1, now).is_err());
        });
    }
}

/// A refusal recalls what another thread is leasing just then: one of the two gets it.
#[test]
fn loom_a_lease_and_a_recall_add_up() {
    loom::model(|| {
        let (limiter, now) = leased(128);
        limiter.take(90, now).unwrap();
        let other = limiter.clone();
        let taking = thread::spawn(move || u32::from(take(&other, 0, 1, now)));
        let mine = 6 * u32::from(take(&limiter, 1, 6, now));
        let taken = mine + taking.join().unwrap();
        assert!(taken <= 6);
        let rest = (0..6).filter(|_| limiter.take(1, now).is_ok()).count() as u32;
        assert_eq!(taken + rest, 6);
    });
}

/// Somebody leases while the head looks: what was on its way to the lease is found, or the head is
/// woken to look again.
#[test]
fn loom_a_lease_on_its_way_is_not_kept_from_the_head() {
    loom::model(|| {
        let (limiter, now) = leased(128);
        limiter.take(86, now).unwrap();
        let other = limiter.clone();
        let leasing = thread::spawn(move || assert!(take(&other, 0, 1, now)));
        let (woken, my_waker) = waker();
        let mut waiting = Waiting::new(&limiter, 8, Normal, None);
        let first = waiting.step(&my_waker, now);
        leasing.join().unwrap();
        if !matches!(first, Step::Done(Ok(()))) {
            assert!(woken.0.load(Ordering::SeqCst), "nobody told it");
            assert!(matches!(waiting.step(&my_waker, now), Step::Done(Ok(()))));
        }
    });
}

/// A change comes while somebody leases: what comes too late goes back.
#[test]
fn loom_a_change_finds_every_lease() {
    loom::model(|| {
        let (limiter, now) = leased(128);
        let other = limiter.clone();
        let taking = thread::spawn(move || take(&other, 0, 1, now));
        limiter.set_quota_at(Quota::new(160, DAY), now).unwrap();
        assert!(taking.join().unwrap());
        assert!(limiter.take(95, now).is_ok(), "none is lost");
        assert!(limiter.take(1, now).is_err());
    });
}
