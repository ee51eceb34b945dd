//! Two attempts, side by side.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::config::HedgeConfig;
use super::core::Core;
use crate::blocks::retry::budget::RetryBudget;
use crate::blocks::retry::config::Idempotency;
use crate::ground::config_error::ConfigError;
use crate::ground::metrics::{Counter, Metric, MetricValue};
use crate::ground::outcome::{Outcome, RetryClass, Verdict};
use crate::ground::primitives::Mutex;
use crate::ground::time::{self, Instant};

/// Sends a call a second time when it takes unusually long, and takes the first answer. See
/// [`HedgeConfig`] for when and how often. Clones are the same hedge; make one for each kind of
/// call, for it has to know what is usual.
///
/// # Cost
/// A call takes a short lock twice and reads the clock twice. One that is late sets a timer.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use headworks::Verdict;
/// use headworks::retry::{Hedge, HedgeConfig, Idempotency, RetryBudget, RetryBudgetConfig};
///
/// let budget = RetryBudget::new(RetryBudgetConfig::default()).unwrap();
/// let hedge = Hedge::new(HedgeConfig::default(), budget).unwrap();
/// let answer = hedge
///     .run(Idempotency::Idempotent, Verdict::of, |_| async { Ok::<_, std::convert::Infallible>(42) })
///     .await;
/// assert_eq!(answer, Ok(42));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Hedge {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: HedgeConfig,
    core: Mutex<Core>,
    budget: RetryBudget,
    /// A retry around it earns for both.
    earns: bool,
    hedged: Counter,
    won: Counter,
    denied: Counter,
}

/// A hedge at one moment; counts since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeSnapshot {
    /// After how long a call is late; `None`: too few calls to know.
    pub delay: Option<Duration>,
    /// Second attempts sent.
    pub hedged: u64,
    /// Second attempts that brought the result.
    pub won: u64,
    /// Late calls that were not hedged: nothing was earned, or the budget was spent.
    pub denied: u64,
}

impl HedgeSnapshot {
    /// Every count under the name it has in a metrics system; all only grow. The label that tells
    /// hedges apart is [`Hedge::name`].
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'static>> {
        use MetricValue::Counter;
        Metric::all([
            ("retry_hedge_sent_total", Counter(self.hedged)),
            ("retry_hedge_won_total", Counter(self.won)),
            ("retry_hedge_denied_total", Counter(self.denied)),
        ])
    }
}

impl Hedge {
    /// A hedge to be used by itself: its successes earn for the budget. Inside of a
    /// [`Retry`](crate::Retry) take [`Retry::hedge`](crate::Retry::hedge), or both earn.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: HedgeConfig, budget: RetryBudget) -> Result<Self, ConfigError> {
        Self::build(config, budget, true)
    }

    pub(in crate::blocks::retry) fn inside(
        config: HedgeConfig,
        budget: RetryBudget,
    ) -> Result<Self, ConfigError> {
        Self::build(config, budget, false)
    }

    fn build(config: HedgeConfig, budget: RetryBudget, earns: bool) -> Result<Self, ConfigError> {
        config.check()?;
        let core = Mutex::new(Core::new(&config));
        let [hedged, won, denied] = std::array::from_fn(|_| Counter::default());
        Ok(Self { shared: Arc::new(Shared { config, core, budget, earns, hedged, won, denied }) })
    }

    /// The label of its metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// The delay and the counts.
    #[must_use]
    pub fn snapshot(&self) -> HedgeSnapshot {
        let Shared { core, hedged, won, denied, .. } = &*self.shared;
        let delay = core.lock().delay();
        HedgeSnapshot { delay, hedged: hedged.get(), won: won.get(), denied: denied.get() }
    }

    /// Makes the call, and a second time when it is late: whichever first ends with a result that
    /// asks for no further attempt wins, and the other is dropped. When neither does, the later
    /// result is returned. `operation` is given the number of the attempt, 1 or 2.
    ///
    /// `judge` is that of [`Retry::run`](crate::Retry::run). Only successes teach what is usual.
    ///
    /// # Errors
    /// The call's own.
    ///
    /// # Panics
    /// Outside of a tokio runtime with a timer, if it waits.
    ///
    /// # Cancel safety
    /// Dropped, it drops both attempts; a hedge that was sent stays paid.
    pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        idempotency: Idempotency,
        judge: impl Fn(&Result<T, E>) -> Verdict,
        mut operation: impl FnMut(u32) -> F,
    ) -> Result<T, E> {
        let first = operation(1);
        let again = (idempotency == Idempotency::Idempotent).then_some(|| operation(2));
        self.race(judge, first, again).await
    }

    /// `again` makes the second attempt, unless there may be none.
    pub(super) async fn race<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        judge: impl Fn(&Result<T, E>) -> Verdict,
        first: F,
        again: Option<impl FnOnce() -> F>,
    ) -> Result<T, E> {
        let mut call = Call::begin(&self.shared);
        let late_at = call.late_at.filter(|_| again.is_some());
        let mut first = pin!(first);
        let result = match time::until(late_at, first.as_mut()).await {
            Some(result) => result,
            None => match again.filter(|_| call.may_hedge()) {
                Some(again) => {
                    let second = pin!(again());
                    let mut both = Both { first: Some(first), second: Some(second) };
                    let (which, result) = poll_fn(|cx| both.poll(cx, &judge)).await;
                    if which == Which::Second {
                        self.shared.won.add(1);
                    }
                    result
                }
                None => first.await,
            },
        };
        call.end(judge(&result));
        result
    }
}

/// One call and its attempts. Dropped before its end, it may still have learned something.
struct Call<'a> {
    hedge: &'a Shared,
    begun: Instant,
    late_at: Option<Instant>,
}

impl<'a> Call<'a> {
    fn begin(hedge: &'a Shared) -> Self {
        let delay = hedge.core.lock().delay();
        let begun = time::now();
        let late_at = delay.and_then(|delay| time::later(begun, delay));
        Self { hedge, begun, late_at }
    }

    /// The call is late: whether there is a second attempt.
    fn may_hedge(&self) -> bool {
        let Shared { core, budget, hedged, denied, .. } = self.hedge;
        let mut core = core.lock();
        // Earned here first: what the budget has is needed elsewhere too.
        let is_paid = core.may_hedge() && budget.try_withdraw_at(time::now()).is_ok();
        if is_paid {
            core.hedged();
        }
        drop(core);
        if is_paid {
            hedged.add(1)
        } else {
            denied.add(1)
        }
        is_paid
    }

    fn end(&mut self, verdict: Verdict) {
        let now = time::now();
        let late_at = self.late_at.take();
        if verdict.outcome() != Outcome::Success {
            return;
        }
        if self.hedge.earns {
            self.hedge.budget.success();
        }
        let took = now.saturating_duration_since(self.begun);
        let mut core = self.hedge.core.lock();
        if late_at.is_some_and(|late_at| now >= late_at) {
            core.late(took);
        } else {
            core.in_time(took);
        }
    }
}

impl Drop for Call<'_> {
    /// Given up by the caller: that it took so long is known, if it was late.
    fn drop(&mut self) {
        let Some(late_at) = self.late_at else { return };
        let now = time::now();
        if now >= late_at {
            self.hedge.core.lock().late(now.saturating_duration_since(self.begun));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

/// `None`: that one has ended.
struct Both<'a, F> {
    first: Option<Pin<&'a mut F>>,
    second: Option<Pin<&'a mut F>>,
}

impl<T, E, F: Future<Output = Result<T, E>>> Both<'_, F> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        judge: &impl Fn(&Result<T, E>) -> Verdict,
    ) -> Poll<(Which, Result<T, E>)> {
        for which in [Which::First, Which::Second] {
            let (this, other) = match which {
                Which::First => (&mut self.first, &self.second),
                Which::Second => (&mut self.second, &self.first),
            };
            let Some(attempt) = this else { continue };
            let Poll::Ready(result) = attempt.as_mut().poll(cx) else { continue };
            *this = None;
            if other.is_none() || judge(&result).retry() == RetryClass::Stop {
                return Poll::Ready((which, result));
            }
        }
        Poll::Pending
    }
}
