//! What a retry counts about itself: nothing on the way of a first attempt that goes well.

use super::error::GaveUp;
use crate::ground::metrics::{Counter, Metric, MetricValue};

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) retried: Counter,
    pub(super) waited_out: Counter,
    pub(super) recovered: Counter,
    exhausted: Counter,
    over_budget: Counter,
    out_of_time: Counter,
    refused: Counter,
    asked_for_longer: Counter,
    stopped: Counter,
}

impl Metrics {
    pub(super) fn gave_up(&self, why: GaveUp) {
        let counter = match why {
            GaveUp::Attempts => &self.exhausted,
            GaveUp::Budget => &self.over_budget,
            GaveUp::TotalTimeout => &self.out_of_time,
            GaveUp::Refused => &self.refused,
            GaveUp::AskedForLonger => &self.asked_for_longer,
            GaveUp::Permanent | GaveUp::AtMostOnce => &self.stopped,
        };
        counter.add(1);
    }

    pub(super) fn snapshot(&self) -> RetrySnapshot {
        RetrySnapshot {
            retried: self.retried.get(),
            waited_out: self.waited_out.get(),
            recovered: self.recovered.get(),
            exhausted: self.exhausted.get(),
            over_budget: self.over_budget.get(),
            out_of_time: self.out_of_time.get(),
            refused: self.refused.get(),
            asked_for_longer: self.asked_for_longer.get(),
            stopped: self.stopped.get(),
        }
    }
}

/// What a [`Retry`](super::Retry) has done since it was made. First attempts that go well leave no
/// trace here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetrySnapshot {
    /// Waits begun for a further attempt, each paid from the budget.
    pub retried: u64,
    /// Waits begun because of a refusal on this side, which cost nothing.
    pub waited_out: u64,
    /// Operations that went well at last, after more than one attempt.
    pub recovered: u64,
    /// Given up: all attempts were used up.
    pub exhausted: u64,
    /// Given up: the budget was spent.
    pub over_budget: u64,
    /// Given up: no time was left.
    pub out_of_time: u64,
    /// Given up: refused on this side.
    pub refused: u64,
    /// Given up: the backend asked for a longer wait than the policy has.
    pub asked_for_longer: u64,
    /// Given up: it won't go better, or must not be done twice.
    pub stopped: u64,
}

impl RetrySnapshot {
    /// Every number under the name it has in a metrics system; all only grow. The label that
    /// tells retries apart is [`Retry::name`](super::Retry::name).
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'static>> {
        use MetricValue::Counter;
        Metric::all([
            ("retry_retried_total", Counter(self.retried)),
            ("retry_waited_out_total", Counter(self.waited_out)),
            ("retry_recovered_total", Counter(self.recovered)),
            ("retry_exhausted_total", Counter(self.exhausted)),
            ("retry_over_budget_total", Counter(self.over_budget)),
            ("retry_out_of_time_total", Counter(self.out_of_time)),
            ("retry_refused_total", Counter(self.refused)),
            ("retry_asked_for_longer_total", Counter(self.asked_for_longer)),
            ("retry_stopped_total", Counter(self.stopped)),
        ])
    }
}
