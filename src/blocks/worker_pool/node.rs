//! One accepted task in one allocation: its future, then its result, and who waits for it.
//!
//! Two own it: the pool's side ([`Work`]), which runs it to its end, and the handle's side
//! ([`Join`]), which gets the result. Each is one value, never cloned; whoever goes second frees
//! it. So one word of flags takes the place of two counters and a lock:
//!
//! 1. *Body.* Until `ENDED` is set the body is the pool side's: the future, or the staged result.
//!    From then on it is the handle's, or the pool side's again if `HANDLE_GONE` was set first.
//!    The future never moves: it is polled and dropped where it was made.
//! 2. *Waker.* While `WAKER` is clear the slot is the handle's to write. Once it is set, the
//!    handle must clear it before writing, and can't after `ENDED`: then the slot is the pool
//!    side's, which takes the waker out. A result is either seen by the handle after it has set
//!    `WAKER`, or sees the waker: no wake-up is lost. The slot is moved out of by copying, so that
//!    the handle may compare what it once wrote there without a race.
//! 3. *Freeing.* A side sets its `GONE` flag as the last thing it does to the node; the one that
//!    finds the other's set frees it.
//! 4. *Booked before told.* A result is staged first, then written into the ledger under the
//!    pool's lock, and only then published. So who has the result finds it in the ledger.
//! 5. *Number.* A task that goes through the lock has its number from the queue. One that was put into
//!    a slot (`node/slot.rs`) gets one when somebody asks, under the lock.
//! 6. The options (timeout, span, callback) are the pool side's alone, which drops them before it
//!    publishes. A callback is called with the staged result, as the last part of the task.
//! 7. Code of a user's (poll, drop, wake) runs with no lock held, and no panic of it gets out, but
//!    for that of cloning a waker, which unwinds to whoever polled the handle with it.
#![allow(unsafe_code, reason = "one allocation a task, and no lock of its own")]

mod slot;

use std::any::Any;
use std::future::{Future, Pending};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use super::error::{Panic, TaskError};
use super::seats::SeatNo;
use super::task::{Callback, Options, Stops, TaskId};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::primitives::cell::UnsafeCell;
use crate::ground::quiet::{drop_quietly, quietly, wake_quietly};
use crate::{Ending, Priority};

pub(super) use slot::{Put, Slot};

/// The result lies in the body.
const ENDED: u64 = 1;
/// The waker's slot is filled.
const WAKER: u64 = 1 << 1;
/// The handle's side has let go.
const HANDLE_GONE: u64 = 1 << 2;
/// The pool's side has let go.
const POOL_GONE: u64 = 1 << 3;
/// It is to end at its next await point.
const STOP: u64 = 1 << 4;
/// Not a task, but a caller of `run` who waits for a seat. Set when it is made, or never.
const CALLER: u64 = 1 << 5;
/// It had begun when it came into the queue again.
const BEGUN: u64 = 1 << 6;
/// Two bits: the class, by index. Set when it is made.
const CLASS: u32 = 7;
/// Above those: the task's number, and 0 until it has one.
const NUMBER: u32 = 9;

type Outcome<T> = Result<T, TaskError>;

/// The part that does not depend on the future's type. Always the first of a [`Node`].
struct Header {
    word: AtomicU64,
    verbs: &'static Verbs,
    waker: UnsafeCell<MaybeUninit<Waker>>,
    /// The pool side's, as long as that is there.
    options: UnsafeCell<Option<Box<Options>>>,
}

impl Header {
    /// Under the pool's lock.
    fn number(&self, next: impl FnOnce() -> u64) -> TaskId {
        // Relaxed: read and written under the lock only.
        let mut number = self.word.load(Ordering::Relaxed) >> NUMBER;
        if number == 0 {
            number = next();
            self.word.fetch_or(number << NUMBER, Ordering::Relaxed);
        }
        TaskId(number)
    }
}

#[repr(C)]
struct Node<F: Future> {
    header: Header,
    body: UnsafeCell<Body<F>>,
}

enum Body<F: Future> {
    Future(F),
    Outcome(Outcome<F::Output>),
    Empty,
}

/// What is done to a node whose type is forgotten. Each takes the node it was made for.
struct Verbs {
    /// The body is the caller's. Stages the result when it is ready.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<Ending>,
    /// The body is the caller's. Drops the future, and stages the error as the result.
    give_up: unsafe fn(NonNull<Header>, TaskError) -> Ending,
    /// The body is the caller's, and a result. Calls this callback with it, which must be one of
    /// the task's.
    tell: unsafe fn(NonNull<Header>, Box<dyn Any + Send>),
    /// The body is the caller's, and the other argument an `Option<Outcome<F::Output>>`.
    read: unsafe fn(NonNull<Header>, NonNull<()>),
    /// Nobody else looks at the node any more.
    free: unsafe fn(NonNull<Header>),
}

impl<F: Future + 'static> Node<F> {
    const VERBS: Verbs = Verbs {
        poll: Self::poll,
        give_up: Self::give_up,
        tell: Self::tell,
        read: Self::read,
        free: Self::free,
    };

    fn make(future: F, flags: u64, options: Option<Box<Options>>) -> NonNull<Header> {
        let header = Header {
            word: AtomicU64::new(flags),
            verbs: &Self::VERBS,
            waker: UnsafeCell::new(MaybeUninit::uninit()),
            options: UnsafeCell::new(options),
        };
        let node = Box::new(Self { header, body: UnsafeCell::new(Body::Future(future)) });
        NonNull::from(Box::leak(node)).cast()
    }

    /// # Safety
    /// `head` is the header of a `Node<F>`, and the caller has its body for the call.
    unsafe fn with_body<R>(head: NonNull<Header>, act: impl FnOnce(&mut Body<F>) -> R) -> R {
        // SAFETY: the header is the first field of a repr(C) node of this type, which lives.
        let node = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: the caller has the body: nobody else makes a reference to it meanwhile.
        node.body.with_mut(|body| act(unsafe { &mut *body }))
    }

    #[inline]
    unsafe fn poll(head: NonNull<Header>, cx: &mut Context<'_>) -> Poll<Ending> {
        // SAFETY: this function's own contract.
        unsafe {
            Self::with_body(head, |body| {
                let Body::Future(future) = body else {
                    // Not polled again once it is ready: it has no future any more.
                    return Poll::Ready(Ending::Cancelled);
                };
                // The node lies on the heap and the future is dropped in place (`stage`).
                let future = Pin::new_unchecked(future);
                match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(output)) => Poll::Ready(stage(body, Ok(output))),
                    Err(payload) => {
                        Poll::Ready(stage(body, Err(TaskError::Panicked(Panic::new(payload)))))
                    }
                }
            })
        }
    }

    unsafe fn give_up(head: NonNull<Header>, why: TaskError) -> Ending {
        // SAFETY: this function's own contract.
        unsafe { Self::with_body(head, |body| stage(body, Err(why))) }
    }

    unsafe fn tell(head: NonNull<Header>, callback: Box<dyn Any + Send>) {
        let callback = callback.downcast::<Callback<F::Output>>();
        let tell = |body: &mut Body<F>| {
            if let (Body::Outcome(outcome), Ok(callback)) = (body, callback) {
                callback(outcome);
            }
        };
        // SAFETY: this function's own contract.
        unsafe { Self::with_body(head, tell) }
    }

    #[inline]
    unsafe fn read(head: NonNull<Header>, into: NonNull<()>) {
        // SAFETY: this function's own contract.
        let body = unsafe {
            Self::with_body(head, |body| match body {
                Body::Outcome(_) => std::mem::replace(body, Body::Empty),
                Body::Future(_) | Body::Empty => Body::Empty,
            })
        };
        if let Body::Outcome(outcome) = body {
            // SAFETY: the caller's option is of this type, and its own.
            unsafe { *into.cast::<Option<Outcome<F::Output>>>().as_mut() = Some(outcome) };
        }
    }

    unsafe fn free(head: NonNull<Header>) {
        // SAFETY: made by `make` from a box of this type, and the caller is the last.
        drop_quietly(unsafe { Box::from_raw(head.cast::<Self>().as_ptr()) });
    }
}

/// The future makes way for the result; it is dropped where it lies, for it may be pinned.
fn stage<F: Future>(body: &mut Body<F>, outcome: Outcome<F::Output>) -> Ending {
    let ending = outcome.as_ref().map_or_else(TaskError::ending, |_| Ending::Completed);
    let at: *mut Body<F> = body;
    // SAFETY: dropped once, here: written over at once without another drop, whether the drop
    // panicked (then what was left of it is forgotten) or not.
    quietly(|| unsafe { std::ptr::drop_in_place(at) });
    // SAFETY: as above; the place is this function's alone.
    unsafe { at.write(Body::Outcome(outcome)) };
    ending
}

/// Both sides of a new task.
pub(super) fn task<F>(
    future: F,
    class: Priority,
    options: Option<Box<Options>>,
) -> (Work, Join<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    sides(Node::make(future, (class.index() as u64) << CLASS, options))
}

/// Both sides of a caller of `run`, whose result is a seat.
pub(super) fn caller() -> (Work, Join<SeatNo>) {
    sides(Node::<Pending<SeatNo>>::make(std::future::pending(), CALLER, None))
}

/// The future and the options of a task that was not accepted after all.
pub(super) fn take_back<F: Future>(work: Work, join: Join<F::Output>) -> (F, Option<Box<Options>>) {
    debug_assert!(std::ptr::addr_eq(work.head.as_ptr(), join.head.as_ptr()), "of one task");
    std::mem::forget(join);
    // SAFETY: both sides are here, and gone after this: nobody else knows the node.
    let node = unsafe { Box::from_raw(work.head.cast::<Node<F>>().as_ptr()) };
    match node.body.into_inner() {
        // Never polled: so it was not pinned yet.
        Body::Future(future) => (future, node.header.options.into_inner()),
        Body::Outcome(_) | Body::Empty => unreachable!("never queued, so never run"),
    }
}

fn sides<T>(head: NonNull<Header>) -> (Work, Join<T>) {
    (Work { head }, Join { head, is_read: false, of: PhantomData })
}

/// The pool's side. Must be published: only leaked otherwise, and its handle waits for ever.
#[must_use = "somebody waits for its end"]
#[derive(Debug)]
pub(super) struct Work {
    head: NonNull<Header>,
}

// SAFETY: future and result are `Send` (see `task`), and the word orders what both sides do.
unsafe impl Send for Work {}

impl Work {
    fn header(&self) -> &Header {
        // SAFETY: a node lives until both sides have let go, and this one has not.
        unsafe { self.head.as_ref() }
    }

    /// Whether this is a caller of `run`, not a task.
    pub(super) fn is_caller(&self) -> bool {
        // Relaxed: written before the node was shared, and never changed.
        self.header().word.load(Ordering::Relaxed) & CALLER != 0
    }

    pub(super) fn mark_begun(&self) {
        // Relaxed: whoever looks has got it under the lock, after this.
        self.header().word.fetch_or(BEGUN, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.header().word.load(Ordering::Relaxed) & BEGUN != 0
    }

    pub(super) fn class(&self) -> Priority {
        // Relaxed: as above. Two bits, as many as there are classes.
        Priority::ALL[(self.header().word.load(Ordering::Relaxed) >> CLASS) as usize & 3]
    }

    /// Under the pool's lock: its number, given by `next` if it has none yet.
    pub(super) fn number(&self, next: impl FnOnce() -> u64) -> TaskId {
        self.header().number(next)
    }

    /// Gives it its number, before anybody else knows of it.
    #[inline]
    pub(super) fn set_number(&self, TaskId(number): TaskId) {
        let word = &self.header().word;
        // Relaxed, and no exchange: whoever will know of it is told so later.
        word.store(word.load(Ordering::Relaxed) | number << NUMBER, Ordering::Relaxed);
    }

    pub(super) fn options(&self) -> Option<&Options> {
        // SAFETY: the options are this side's, and mutable only through `&mut self`.
        self.header().options.with(|options| unsafe { (*options).as_deref() })
    }

    fn options_mut(&mut self) -> &mut Option<Box<Options>> {
        // SAFETY: as above.
        self.header().options.with_mut(|options| unsafe { &mut *options })
    }

    pub(super) fn has_callback(&self) -> bool {
        self.options().is_some_and(|options| options.on_end.is_some())
    }

    /// Whether it can be stopped now.
    pub(super) fn stops(&self) -> bool {
        self.options().is_none_or(|options| options.stops != Stops::Never)
    }

    /// Polls the future, unless it is to stop; its result is staged once it is ready.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        // Relaxed: a request that comes late is followed by a wake-up.
        let is_to_stop = self.header().word.load(Ordering::Relaxed) & STOP != 0;
        if is_to_stop && self.stops() {
            return Poll::Ready(self.give_up(TaskError::Cancelled));
        }
        if self.options().is_some() {
            return self.poll_fitted(cx);
        }
        // SAFETY: the verbs are this node's; not ended, so the body is this side's.
        unsafe { (self.header().verbs.poll)(self.head, cx) }
    }

    /// The same for a task with options.
    fn poll_fitted(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Some(options) = self.options_mut() {
            options.begin();
        }
        let (head, verbs) = (self.head, self.header().verbs);
        // SAFETY: as in `poll`.
        let polled = self.in_span(|| unsafe { (verbs.poll)(head, cx) });
        match polled {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(ending)) => {
                self.conclude();
                Poll::Ready(ending)
            }
            // Whoever listens to its span panicked.
            None => Poll::Ready(self.give_up(TaskError::Cancelled)),
        }
    }

    /// Drops the future, and stages `why` as the result.
    pub(super) fn give_up(&mut self, why: TaskError) -> Ending {
        let (head, verbs, ending) = (self.head, self.header().verbs, why.ending());
        let mut why = Some(why);
        let mut give_up = || {
            // SAFETY: as in `poll`.
            why.take().map(|why| unsafe { (verbs.give_up)(head, why) });
        };
        self.in_span(&mut give_up);
        // If whoever listens to its span panicked.
        give_up();
        self.conclude();
        ending
    }

    /// Does something in the submitter's span, if there is one. `None`: it or the span's
    /// subscriber panicked.
    fn in_span<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let Some(span) = self.options().and_then(|options| options.span.as_ref()) else {
            return Some(act());
        };
        let mut done = None;
        quietly(|| span.in_scope(|| done = Some(act())));
        done
    }

    /// The result is staged: calls who wants to know, and lets go of all that was the task's.
    fn conclude(&mut self) {
        let callback = match self.options_mut() {
            Some(options) => options.on_end.take(),
            None => return,
        };
        if let Some(callback) = callback {
            let (head, verbs) = (self.head, self.header().verbs);
            let (mut callback, mut is_told) = (Some(callback), false);
            let mut tell = || {
                if let Some(callback) = callback.take() {
                    // SAFETY: as in `poll`, with the result staged; made for this task (`Task::on_end`).
                    quietly(|| {
                        unsafe { (verbs.tell)(head, callback) };
                        is_told = true;
                    });
                }
            };
            self.in_span(&mut tell);
            // If whoever listens to its span panicked.
            tell();
            let meters = self.options().and_then(|options| options.meters.as_ref());
            if let (Some(meters), false) = (meters, is_told) {
                meters.callback_panics.add(1);
            }
        }
        drop_quietly(self.options_mut().take());
    }

    /// Tells the handle what was staged, and lets go. A result that nobody wants is dropped.
    #[inline]
    pub(super) fn publish(self) {
        if self.end() == Handle::Gone {
            // SAFETY: its handle has let go, so this side is the last, and has the body.
            unsafe { (self.header().verbs.free)(self.head) };
        }
    }

    /// Gives the caller of `run` its seat; back, if it has left.
    pub(super) fn seat(self, seat: SeatNo) -> Result<(), SeatNo> {
        debug_assert!(self.is_caller(), "only a caller takes a seat so");
        // SAFETY: callers' nodes are of this type; not ended, so the body is this side's.
        unsafe {
            Node::<Pending<SeatNo>>::with_body(self.head, |body| stage(body, Ok(seat)));
        }
        match self.end() {
            Handle::Told => Ok(()),
            Handle::Gone => {
                // SAFETY: as in `publish`.
                unsafe { (self.header().verbs.free)(self.head) };
                Err(seat)
            }
        }
    }

    /// Sets `ENDED`. If the handle is there, this side lets go; else the node is this side's.
    #[inline]
    fn end(&self) -> Handle {
        let word = &self.header().word;
        // Acquire, here and below: pairs with the handle's releases of waker and flags.
        let mut was = word.load(Ordering::Acquire);
        loop {
            // Without a waker nothing is left to do here afterwards.
            let gone = if was & WAKER == 0 { POOL_GONE } else { 0 };
            // Release: the handle that finds `ENDED` reads the body.
            match word.compare_exchange_weak(
                was,
                was | ENDED | gone,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => was = now,
            }
        }
        if was & HANDLE_GONE != 0 {
            return Handle::Gone;
        }
        if was & WAKER != 0 {
            self.wake();
        }
        Handle::Told
    }

    /// Lets go, and wakes the handle.
    fn wake(&self) {
        // SAFETY: `WAKER` was set when `ENDED` was: the slot is this side's (invariant 2).
        // Nobody else moves out of it.
        let waker = self.header().waker.with(|slot| unsafe { (*slot).assume_init_read() });
        // Release: whoever frees the node does so after the slot was read. Acquire: and after
        // what the handle did.
        let was = self.header().word.fetch_or(POOL_GONE, Ordering::AcqRel);
        if was & HANDLE_GONE != 0 {
            // SAFETY: both have let go.
            unsafe { (self.header().verbs.free)(self.head) };
        }
        wake_quietly(waker);
    }
}

/// Whether somebody is there to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Handle {
    Told,
    Gone,
}

/// The handle's side.
#[derive(Debug)]
pub(super) struct Join<T> {
    head: NonNull<Header>,
    is_read: bool,
    of: PhantomData<fn() -> T>,
}

// SAFETY: the result is `Send`, as `task` asks; `&Join` only sets a flag.
unsafe impl<T: Send> Send for Join<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Join<T> {}

impl<T> Join<T> {
    fn header(&self) -> &Header {
        // SAFETY: a node lives until both sides have let go, and this one has not.
        unsafe { self.head.as_ref() }
    }

    /// The result, once it is there; registers the waker until then. Pending for ever once it was
    /// read.
    #[inline]
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome<T>> {
        if self.is_read {
            return Poll::Pending;
        }
        let word = &self.header().word;
        // Acquire: pairs with `end`.
        let mut was = word.load(Ordering::Acquire);
        if was & (ENDED | WAKER) == WAKER {
            if self.holds(cx.waker()) {
                return Poll::Pending;
            }
            was = self.unregister();
        }
        if was & ENDED == 0 {
            was = self.register(cx.waker().clone());
        }
        if was & ENDED == 0 {
            Poll::Pending
        } else {
            self.read().map_or(Poll::Pending, Poll::Ready)
        }
    }

    /// Whether this is the waker that was registered. Two pointers are compared and none is
    /// followed, so that it does not matter whether the pool's side has moved it out by now.
    fn holds(&self, waker: &Waker) -> bool {
        // SAFETY: `WAKER` was found set: written by this side, and never written but by this side.
        self.header().waker.with(|slot| unsafe { (*slot).assume_init_ref() }.will_wake(waker))
    }

    /// Fills the slot, which is empty. The word as it then was: with `ENDED` it came too late.
    #[inline]
    fn register(&self, waker: Waker) -> u64 {
        let header = self.header();
        // SAFETY: `WAKER` is clear: the slot is this side's.
        header.waker.with_mut(|slot| unsafe { slot.write(MaybeUninit::new(waker)) });
        // Release: the pool's side finds the waker. Acquire: this one finds the result.
        let set = header.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & ENDED == 0).then_some(word | WAKER)
        });
        if set.is_err() {
            self.empty();
        }
        set.unwrap_or_else(|was| was)
    }

    /// Empties the slot, which is filled. The word as it then was: with `ENDED` it is the pool's
    /// side that empties it.
    fn unregister(&self) -> u64 {
        let word = &self.header().word;
        // AcqRel: as in `register`.
        let cleared = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & ENDED == 0).then_some(word & !WAKER)
        });
        if cleared.is_ok() {
            self.empty();
        }
        cleared.unwrap_or_else(|was| was)
    }

    /// Drops the waker in the slot: a user's code, which may panic.
    fn empty(&self) {
        // SAFETY: filled, with `WAKER` clear: the slot is this side's, and not moved out of yet.
        let waker = self.header().waker.with(|slot| unsafe { (*slot).assume_init_read() });
        drop_quietly(waker);
    }

    /// The result. `ENDED` has been seen.
    #[inline]
    fn read(&mut self) -> Option<Outcome<T>> {
        let mut outcome: Option<Outcome<T>> = None;
        self.is_read = true;
        // SAFETY: ended with the handle there: the body is this side's; `T` is the node's output.
        unsafe { (self.header().verbs.read)(self.head, NonNull::from(&mut outcome).cast()) };
        outcome
    }

    /// Its number, if it has one.
    pub(super) fn known(&self) -> Option<TaskId> {
        // Relaxed: that of a task in the queue was given before its handle was made.
        let number = self.header().word.load(Ordering::Relaxed) >> NUMBER;
        (number != 0).then_some(TaskId(number))
    }

    /// Under the pool's lock: as [`Work::number`].
    pub(super) fn number(&self, next: impl FnOnce() -> u64) -> TaskId {
        self.header().number(next)
    }

    /// Asks the task to end at its next await point; whether it has not ended yet.
    pub(super) fn stop(&self) -> bool {
        // Relaxed: whoever runs the task is woken through the pool's lock after this.
        self.header().word.fetch_or(STOP, Ordering::Relaxed) & ENDED == 0
    }

    /// Lets go, with the result if it is there.
    pub(super) fn leave(self) -> Option<Outcome<T>> {
        ManuallyDrop::new(self).let_go()
    }

    #[inline]
    fn let_go(&mut self) -> Option<Outcome<T>> {
        let mut was = self.header().word.load(Ordering::Acquire);
        if was & (ENDED | WAKER) == WAKER {
            was = self.unregister() & !WAKER;
        }
        while was & ENDED == 0 {
            // Release: the pool's side frees after all that was done here.
            match self.header().word.compare_exchange_weak(
                was,
                was | HANDLE_GONE,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return None,
                Err(now) => was = now,
            }
        }
        let outcome = if self.is_read { None } else { self.read() };
        // A look first: mostly the pool's side has gone by now, and no write is needed.
        let word = &self.header().word;
        let gone = word.load(Ordering::Acquire) & POOL_GONE != 0
            || word.fetch_or(HANDLE_GONE, Ordering::AcqRel) & POOL_GONE != 0;
        if gone {
            // SAFETY: both have let go.
            unsafe { (self.header().verbs.free)(self.head) };
        }
        outcome
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        if let Some(unread) = self.let_go() {
            drop_quietly(unread);
        }
    }
}
