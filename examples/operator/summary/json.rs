//! The summary for machines.

use std::sync::Arc;
use std::time::Duration;

use headworks::{Ending, Ledger, Priority};
use serde_json::{Map, Value, json};

use super::{Asked, SHARES, Summary};
use crate::formats::Warning;
use crate::git::Committed;
use crate::latency::Latencies;
use crate::tally::Class;

impl Summary {
    pub(crate) fn json(&self) -> Value {
        let (tally, drained) = (&self.tally, &self.drained);
        let (pool, budget) = (&self.transport.in_all, &self.pipeline.retry_budget);
        let returned: Vec<_> = drained.returned.iter().map(|one| &*one.intent.key).collect();
        json!({
            "documents": {
                "total": tally.documents(),
                "skipped": tally.skipped.len(),
                "invalid": tally.invalid,
                "accepted": tally.accepted,
                "refused": tally.refused(),
                "not_submitted": tally.not_submitted,
            },
            "committed": tally.committed(),
            "endings": tally.endings,
            "skipped": tally.skipped,
            "refusals": self.refusals(),
            "refused": tally.refused,
            "priorities": self.classes().map(class).collect::<Map<_, _>>(),
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "commits_per_second": self.rate(),
            "connections": { "opened": pool.opened, "reused": pool.reused },
            "retry_budget": { "paid": budget.withdrawn, "denied": budget.refused },
            "llm": llm(&self.llm),
            "repository": self.repository(),
            "ledger": ledger(&drained.ledger),
            "adds_up": self.adds_up(),
            "returned": returned,
            "indeterminate": keys(&drained.indeterminate),
            "unresponsive": keys(&drained.unresponsive),
            "failures": tally.failures,
            "warnings": tally.warnings.iter().map(warning).collect::<Vec<_>>(),
            "clean": self.is_clean(),
        })
    }

    fn repository(&self) -> Value {
        let commits = &self.commits;
        json!({
            "target": self.target,
            "temporary": self.temporary,
            "committed": commits.committed,
            "unverified": commits.unverified().count(),
            "commits": commits.commits.iter().map(commit).collect::<Vec<_>>(),
            "repeated": commits.repeated,
            "pushes": commits.pushes,
            "failed_pushes": commits.failed_pushes,
            "unknown": commits.unknown,
        })
    }
}

fn llm(asked: &Asked) -> Value {
    let calls: Option<Map<_, _>> = asked.served.as_ref().map(|served| {
        served.named().map(|(kind, count)| (kind.to_owned(), count.into())).into_iter().collect()
    });
    json!({ "url": asked.url, "stand_in_calls": calls })
}

fn keys(keys: &[Arc<str>]) -> Vec<&str> {
    keys.iter().map(|key| &**key).collect()
}

fn warning(warning: &Warning) -> Value {
    let Warning { origin, pointer, text } = warning;
    json!({ "file": &*origin.file, "document": origin.document, "pointer": pointer, "text": text })
}

fn commit(commit: &Committed) -> Value {
    json!({ "id": commit.id.as_str(), "key": commit.key, "verified": commit.verified })
}

fn class((priority, class): (Priority, &Class)) -> (String, Value) {
    let value = json!({
        "ended": class.total.count(),
        "wait_ms": percentiles(&class.wait),
        "total_ms": percentiles(&class.total),
    });
    (priority.to_string(), value)
}

fn percentiles(latencies: &Latencies) -> Map<String, Value> {
    let millis = |latency: Duration| latency.as_micros() as f64 / 1_000.0;
    let percentile = |share| json!(latencies.percentile(share).map(millis));
    SHARES.map(|(name, share)| (name.to_owned(), percentile(share))).into_iter().collect()
}

fn ledger(ledger: &Ledger) -> Value {
    let counts = Ending::ALL.map(|ending| (ending.as_str(), ledger.count(ending)));
    let all = counts.into_iter().chain([("accepted", ledger.accepted), ("live", ledger.live)]);
    all.map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>().into()
}
