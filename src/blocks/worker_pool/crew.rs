//! The workers: tasks that pull. Shared with the pipeline.
//!
//! 1. Work never waits beside a resting worker: whenever some could start and somebody rests, as
//!    many workers as the owner wants are about to look (`looking`): roused, or lingering. Where
//!    jobs are short, one does: it wakes the next one if there is more when it has taken its own,
//!    so a burst is done in one go, and a second is woken should work pile up. Where they are
//!    long, or nobody knows, one for each that could start: tokio runs a task that is woken on
//!    one of its threads on that very thread, and nobody else may take it while that thread
//!    computes, unless another one is woken there. So a chain would be held up at its first link.
//!    A worker that finds nothing after a job lingers once, at the end of its runtime's queue:
//!    whatever is submitted until then wakes nobody, and is done in one go.
//! 2. `Roster` is guarded by the owner's lock, the same that guards the queue: who finds nothing
//!    and rests, and who adds work and rouses, are in one order. A worker that was roused before
//!    it got to rest is polled again by its runtime: no wake-up is lost.
//! 3. The one who rested last is woken first: it is the one whose memory is still near.
//! 4. A worker goes on from job to job in one poll for at most [`TURN`], or as long as its runtime's
//!    budget lasts; a job that takes longer is the last. Then it pauses: everything else has its
//!    turn, and it pulls after that, not before. So a job never waits in the hands of one who does
//!    not do it. Its thread may have much to do: so it is not one of those about to look.
//! 5. A worker leaves only when it is told to, or when its runtime ends; the last one says so.
//!    One that keeps watch is woken for work after all others.
//!
//! Workers are polled by the runtime they were started on, so their wakers are that runtime's: to
//! clone one under the lock runs no code of a user's.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::coop;
use tokio_util::sync::CancellationToken;

use crate::ground::primitives::atomic::{AtomicUsize, Ordering};
use crate::ground::time::{self, Glance, Instant, Now};

/// How long a worker keeps its thread from others, but for a job that takes longer by itself: the
/// cost of changing tasks is nothing beside it, and sixteen of them in a row are a few milliseconds.
const TURN: Duration = Duration::from_micros(200);

/// What a crew works for.
pub(crate) trait Post: Send + Sync + 'static {
    /// Something to do.
    type Job: Send;
    /// What is to be booked about a job that is done.
    type Done: Send;
    /// What each worker keeps from job to job.
    type Kit: Default + Send;

    /// Books what was done and gives the next job: one lock for both, and one look at the clock at
    /// most with what else the worker does between two jobs.
    fn next(
        self: &Arc<Self>,
        who: WorkerNo,
        turn: Turn<Self::Done>,
        now: &Glance,
    ) -> Next<Self::Job>;

    /// Does it. Must not panic, and must book the job as cancelled when it is
    /// dropped half-way, as a runtime does that shuts down.
    fn work(
        self: &Arc<Self>,
        job: Self::Job,
        kit: &mut Self::Kit,
    ) -> impl Future<Output = Self::Done> + Send;

    fn crew(&self) -> &Crew;

    /// The last worker has left, told to or because its runtime ended: nobody pulls any more.
    fn deserted(self: &Arc<Self>) {}
}

/// Names a worker of a crew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerNo(pub(crate) u32);

/// Why a worker asks for a job.
#[derive(Debug)]
pub(crate) enum Turn<D> {
    /// It is new: so it is woken.
    Begun(Waker),
    /// It has rested until something woke it.
    Up,
    /// It is done with one.
    Done(D),
    /// It is done with one, and has kept its thread for long.
    Spent(D),
}

/// What a worker gets.
#[derive(Debug)]
pub(crate) enum Next<J> {
    Job(J),
    /// Nothing can start: on the roster as resting until it is woken, or until then.
    Rest {
        until: Option<Instant>,
    },
    /// Look once more, after everybody else on this thread had a turn.
    Linger,
    /// The same, after sockets and timers had one too. Only for who is spent.
    Pause,
    /// Go.
    Leave,
}

/// Who rests, and who is waking. Part of what the owner's lock guards.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// By number; `None` until it has begun.
    wakers: Vec<Option<Waker>>,
    /// The last one rested last.
    resting: Vec<WorkerNo>,
    /// They will ask for work soon: roused, or lingering.
    looking: Vec<WorkerNo>,
}

impl Roster {
    /// A worker says how it is woken.
    pub(crate) fn begun(&mut self, who: WorkerNo, waker: Waker) {
        let at = who.0 as usize;
        if self.wakers.len() <= at {
            self.wakers.resize(at + 1, None);
        }
        self.wakers[at] = Some(waker);
    }

    /// A worker found nothing to start.
    #[inline]
    pub(crate) fn rest(&mut self, who: WorkerNo) {
        self.resting.push(who);
    }

    /// The same for one that rests until some time: the last to be woken.
    pub(crate) fn keep_watch(&mut self, who: WorkerNo) {
        self.resting.insert(0, who);
    }

    /// A worker has left, or will never begin: its number is for another.
    pub(crate) fn left(&mut self, who: WorkerNo) {
        if let Some(waker) = self.wakers.get_mut(who.0 as usize) {
            *waker = None;
        }
    }

    /// A worker found nothing: whether it is to look once more before it rests. One at a time.
    #[inline]
    pub(crate) fn lingers(&mut self, who: WorkerNo) -> bool {
        let lingers = self.looking.is_empty();
        if lingers {
            self.looking.push(who);
        }
        lingers
    }

    /// A worker is up: roused, or by itself.
    #[inline]
    pub(crate) fn up(&mut self, who: WorkerNo) {
        if let Some(at) = self.looking.iter().position(|&looking| looking == who) {
            self.looking.swap_remove(at);
        } else if let Some(at) = self.resting.iter().rposition(|&resting| resting == who) {
            self.resting.remove(at);
        }
    }

    /// Something could start, and so many are enough to look: whom to wake, after the unlock.
    #[must_use]
    #[inline]
    pub(crate) fn rouse(&mut self, enough: usize) -> Option<Waker> {
        if self.looking.len() >= enough {
            return None;
        }
        let who = self.resting.pop()?;
        self.looking.push(who);
        self.waker(who)
    }

    /// Whom to wake so that this one looks up, whatever it does.
    #[must_use]
    #[inline]
    pub(crate) fn waker(&self, who: WorkerNo) -> Option<Waker> {
        self.wakers.get(who.0 as usize)?.clone()
    }

    /// Everybody who rests, to be woken after the unlock.
    #[must_use]
    pub(crate) fn rouse_all(&mut self) -> Vec<Waker> {
        let resting = std::mem::take(&mut self.resting);
        resting.into_iter().filter_map(|who| self.waker(who)).collect()
    }

    /// Everybody, to be woken after the unlock.
    #[must_use]
    pub(crate) fn everybody(&mut self) -> Vec<Waker> {
        self.resting.clear();
        self.wakers.iter().flatten().cloned().collect()
    }
}

/// The workers of one owner.
#[derive(Debug)]
pub(crate) struct Crew {
    alive: AtomicUsize,
    gone: CancellationToken,
}

impl Crew {
    pub(crate) fn new() -> Self {
        Self { alive: AtomicUsize::new(0), gone: CancellationToken::new() }
    }

    /// Starts `workers` of them, once.
    pub(crate) fn start<P: Post>(post: &Arc<P>, workers: u32, runtime: &Handle) {
        // Relaxed: no worker runs yet.
        post.crew().alive.store(workers as usize, Ordering::Relaxed);
        for no in 0..workers {
            runtime.spawn(worker(Leaving(Arc::clone(post)), WorkerNo(no)));
        }
    }

    /// Starts one more, with a number that nobody has.
    pub(crate) fn hire<P: Post>(post: &Arc<P>, no: WorkerNo, runtime: &Handle) {
        // Relaxed: as when enlisting. Should the last one be leaving just now, this one is the last.
        post.crew().alive.fetch_add(1, Ordering::Relaxed);
        runtime.spawn(worker(Leaving(Arc::clone(post)), no));
    }

    /// A member more, who does something else than pull.
    pub(crate) fn enlist<P: Post>(post: &Arc<P>) -> Leaving<P> {
        // Relaxed: whoever enlists holds the post, and nobody has left yet.
        post.crew().alive.fetch_add(1, Ordering::Relaxed);
        Leaving(Arc::clone(post))
    }

    /// Waits until every worker has left, `until` at the latest; whether they have.
    /// Cancel safe: it only watches.
    pub(crate) async fn all_gone(&self, until: Option<Instant>) -> bool {
        time::until(until, self.gone.cancelled()).await.is_some()
    }

    /// Whether this was the last one.
    fn leave(&self) -> bool {
        // AcqRel: the last one to leave sees what the others did before they left.
        self.alive.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// A member's place in the crew; given up when it ends, however.
pub(crate) struct Leaving<P: Post>(Arc<P>);

impl<P: Post> Leaving<P> {
    pub(crate) fn post(&self) -> &Arc<P> {
        &self.0
    }
}

impl<P: Post> Drop for Leaving<P> {
    fn drop(&mut self) {
        if self.0.crew().leave() {
            self.0.deserted();
            self.0.crew().gone.cancel();
        }
    }
}

async fn worker<P: Post>(me: Leaving<P>, no: WorkerNo) {
    let (post, mut kit) = (me.post(), P::Kit::default());
    let mut turn = Turn::Begun(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
    let (mut stint, mut now) = (Stint::default(), Glance::default());
    loop {
        match post.next(no, turn, &now) {
            Next::Job(job) => {
                let done = stint.watch(post.work(job, &mut kit), now.seen()).await;
                let is_out = charge().await;
                now = Glance::default();
                let is_spent = is_out || stint.is_over(&now);
                turn = if is_spent { Turn::Spent(done) } else { Turn::Done(done) };
                continue;
            }
            Next::Rest { until } => drop(time::until(until, rest()).await),
            Next::Linger => linger().await,
            Next::Pause => tokio::task::yield_now().await,
            Next::Leave => return,
        }
        stint.begin();
        now = Glance::default();
        turn = Turn::Up;
    }
}

/// Charges a job to the runtime's budget, at its end. Whether that is used up.
async fn charge() -> bool {
    let charge = |cx: &mut Context<'_>| coop::poll_proceed(cx).map(|unit| unit.made_progress());
    poll_fn(|cx| Poll::Ready(charge(cx).is_pending())).await || !coop::has_budget_remaining()
}

/// What a worker does within one poll of its task.
#[derive(Default)]
struct Stint {
    /// When its first job began.
    since: Option<Instant>,
}

impl Stint {
    /// Another one begins with the next job.
    fn begin(&mut self) {
        self.since = None;
    }

    /// A job that waited for something begins a new one. `now`: if it is known already.
    async fn watch<F: Future>(&mut self, job: F, now: Option<Instant>) -> F::Output {
        let (mut job, mut goes_on) = (pin!(job), true);
        self.since = self.since.or(now);
        poll_fn(|cx| {
            if !std::mem::take(&mut goes_on) {
                self.begin();
            }
            self.since.get_or_insert_with(time::now);
            job.as_mut().poll(cx)
        })
        .await
    }

    /// Asked at the end of each job.
    fn is_over(&self, now: &Glance) -> bool {
        self.since.is_some_and(|since| now.get().saturating_duration_since(since) >= TURN)
    }
}

/// To the end of the runtime's queue.
async fn linger() {
    let mut has_lingered = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_lingered, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Until whatever polls it next.
async fn rest() {
    let mut has_rested = false;
    poll_fn(
        |_| if std::mem::replace(&mut has_rested, true) { Poll::Ready(()) } else { Poll::Pending },
    )
    .await;
}
