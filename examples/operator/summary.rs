//! What one is told at the end, in words or as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use headworks::http_transport::TransportSnapshot;
use headworks::pipeline::{DrainReport, PipelineSnapshot};
use headworks::{Ending, Ledger, Priority};
use serde_json::{Map, Value, json};

use crate::formats::Warning;
use crate::git::{Committed, Report};
use crate::intent::NetworkIntent;
use crate::latency::Latencies;
use crate::llm::Counts;
use crate::tally::{Class, Failure, Skipped, Tally};

/// Everything that is known when all is over.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) tally: Tally,
    pub(crate) drained: DrainReport<Arc<NetworkIntent>>,
    pub(crate) pipeline: PipelineSnapshot,
    pub(crate) transport: TransportSnapshot,
    /// Where the commits went.
    pub(crate) target: String,
    pub(crate) commits: Report,
    /// What the stand-in LLM served; `None` when a real one was asked.
    pub(crate) faults: Option<Counts>,
    pub(crate) elapsed: Duration,
}

impl Summary {
    /// Exit code 0: every document ended committed, skipped, or failed by its own content, and
    /// every one is accounted for.
    pub(crate) fn is_clean(&self) -> bool {
        let drained = &self.drained;
        self.tally.is_clean()
            && self.adds_up()
            && drained.indeterminate.is_empty()
            && drained.unresponsive.is_empty()
    }

    /// The ledger is exact, and says the same as what was heard of every single document.
    fn adds_up(&self) -> bool {
        let ledger = &self.drained.ledger;
        let heard = |ending: Ending| self.tally.endings.get(ending.as_str()).copied().unwrap_or(0);
        ledger.is_exact()
            && ledger.accepted == self.tally.accepted
            && Ending::ALL.iter().all(|&ending| ledger.count(ending) == heard(ending))
    }

    /// Committed documents a second.
    fn rate(&self) -> f64 {
        self.tally.committed() as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes any text");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let tally = &self.tally;
        for Skipped { file, document, kind } in &tally.skipped {
            writeln!(out, "skipped {file}#{document}: {kind}")?;
        }
        for failure in &tally.failures {
            writeln!(out, "{}", failure_line(failure))?;
        }
        for warning in &tally.warnings {
            writeln!(out, "{}", warning_line(warning))?;
        }
        self.write_documents(out)?;
        self.write_classes(out)?;
        self.write_parts(out)?;
        writeln!(out, "ledger      {}", self.drained.ledger)?;
        if !self.adds_up() {
            writeln!(out, "THE LEDGER DOES NOT ADD UP")?;
        }
        self.write_left_over(out)
    }

    fn write_documents(&self, out: &mut String) -> fmt::Result {
        let tally = &self.tally;
        let by_content = tally.failures.iter().filter(|failure| failure.by_content).count();
        let other = tally.failures.len() - by_content;
        let skipped = tally.skipped.len();
        writeln!(
            out,
            "documents   {} = skipped {skipped} + invalid {} + accepted {} + refused {}",
            tally.documents(),
            tally.invalid,
            tally.accepted,
            tally.refused(),
        )?;
        writeln!(
            out,
            "outcome     committed {}, failed by content {by_content}, other failures {other}",
            tally.committed(),
        )?;
        writeln!(out, "refusals    {}", counts(&self.refusals()))?;
        let seconds = self.elapsed.as_secs_f64();
        writeln!(out, "rate        {:.0} commits/s over {seconds:.1} s", self.rate())
    }

    fn write_classes(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "priority    ended     wait p50/p95/p99        total p50/p95/p99")?;
        for (priority, class) in self.classes() {
            let (wait, total) = (percentiles(&class.wait), percentiles(&class.total));
            let count = class.total.count();
            writeln!(out, "  {priority:<8} {count:>7}     {wait:<23} {total}")?;
        }
        Ok(())
    }

    fn write_parts(&self, out: &mut String) -> fmt::Result {
        let (pool, budget) = (&self.transport.in_all, &self.pipeline.retry_budget);
        writeln!(out, "connections opened {}, reused {}", pool.opened, pool.reused)?;
        writeln!(out, "retries     paid {}, denied {}", budget.withdrawn, budget.refused)?;
        if let Some(faults) = &self.faults {
            writeln!(out, "llm         {} calls: {faults:?}", faults.total())?;
        }
        let Report { committed, repeated, pushes, failed_pushes, .. } = &self.commits;
        writeln!(out, "repository  {}", self.target)?;
        writeln!(out, "commits     {committed} new, {repeated} that were there already")?;
        writeln!(out, "pushes      {pushes}, of which failed {failed_pushes}")
    }

    /// What a drain left: nothing is lost, everything is named.
    fn write_left_over(&self, out: &mut String) -> fmt::Result {
        for returned in &self.drained.returned {
            let (key, tickets) = (&returned.intent.key, returned.tickets);
            writeln!(out, "returned    {key} ({tickets} tickets)")?;
        }
        for key in &self.drained.indeterminate {
            writeln!(out, "indeterminate {key}")?;
        }
        for key in &self.drained.unresponsive {
            writeln!(out, "unresponsive {key}")?;
        }
        Ok(())
    }

    /// How often the pipeline said no; who came again may have been accepted then.
    fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let mut refusals = BTreeMap::new();
        for (reason, count) in &self.pipeline.refused {
            *refusals.entry(reason.as_str()).or_default() += count;
        }
        refusals
    }

    /// Most urgent first.
    fn classes(&self) -> impl Iterator<Item = (Priority, &Class)> {
        Priority::ALL.into_iter().zip(&self.tally.classes).rev()
    }

    pub(crate) fn json(&self) -> Value {
        let tally = &self.tally;
        let pool = &self.transport.in_all;
        let budget = &self.pipeline.retry_budget;
        let keys = |keys: &[Arc<str>]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let returned: Vec<_> = self.drained.returned.iter().map(|one| &*one.intent.key).collect();
        json!({
            "documents": {
                "total": tally.documents(),
                "skipped": tally.skipped.len(),
                "invalid": tally.invalid,
                "accepted": tally.accepted,
                "refused": tally.refused(),
            },
            "committed": tally.committed(),
            "endings": tally.endings,
            "skipped": tally.skipped,
            "refusals": self.refusals(),
            "refused": tally.refused,
            "priorities": self.classes().map(class_json).collect::<Map<_, _>>(),
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "commits_per_second": self.rate(),
            "connections": { "opened": pool.opened, "reused": pool.reused },
            "retry_budget": { "paid": budget.withdrawn, "denied": budget.refused },
            "repository": {
                "committed": self.commits.committed,
                "target": self.target,
                "commits": self.commits.commits.iter().map(commit_json).collect::<Vec<_>>(),
                "repeated": self.commits.repeated,
                "pushes": self.commits.pushes,
                "failed_pushes": self.commits.failed_pushes,
                "unknown": self.commits.unknown,
            },
            "ledger": ledger_json(&self.drained.ledger),
            "adds_up": self.adds_up(),
            "returned": returned,
            "indeterminate": keys(&self.drained.indeterminate),
            "unresponsive": keys(&self.drained.unresponsive),
            "failures": tally.failures,
            "warnings": tally.warnings.iter().map(warning_json).collect::<Vec<_>>(),
            "clean": self.is_clean(),
        })
    }
}

fn warning_line(warning: &Warning) -> String {
    let Warning { origin, pointer, text } = warning;
    format!("warning {origin} at {pointer:?}: {text}")
}

fn warning_json(warning: &Warning) -> Value {
    let Warning { origin, pointer, text } = warning;
    json!({ "file": &*origin.file, "document": origin.document, "pointer": pointer, "text": text })
}

fn commit_json(commit: &Committed) -> Value {
    json!({ "id": commit.id.as_str(), "key": commit.key })
}

fn failure_line(failure: &Failure) -> String {
    let Failure { ending, file, document, rule, .. } = failure;
    let optional = |part: Option<String>| part.unwrap_or_default();
    let key = optional(failure.key.as_ref().map(|key| format!(" ({key})")));
    let phase = optional(failure.phase.map(|phase| format!(" in {phase}")));
    let pointer = optional(failure.pointer.as_ref().map(|pointer| format!(" at {pointer:?}")));
    let mark = if failure.indeterminate { " [indeterminate]" } else { "" };
    format!("{ending} {file}#{document}{key}{phase}{pointer}{mark}: {rule}")
}

fn counts<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let parts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

const SHARES: [(&str, f64); 3] = [("p50", 0.50), ("p95", 0.95), ("p99", 0.99)];

fn percentiles(latencies: &Latencies) -> String {
    let millis = |(_, share)| match latencies.percentile(share) {
        Some(latency) => format!("{:.1}", latency.as_secs_f64() * 1_000.0),
        None => "-".to_owned(),
    };
    format!("{} ms", SHARES.map(millis).join("/"))
}

fn class_json((priority, class): (Priority, &Class)) -> (String, Value) {
    let times = |latencies: &Latencies| -> Map<String, Value> {
        let millis = |share| latencies.percentile(share).map(|it| it.as_secs_f64() * 1_000.0);
        SHARES.iter().map(|&(name, share)| (name.to_owned(), json!(millis(share)))).collect()
    };
    let value = json!({
        "ended": class.total.count(),
        "wait_ms": times(&class.wait),
        "total_ms": times(&class.total),
    });
    (priority.to_string(), value)
}

fn ledger_json(ledger: &Ledger) -> Value {
    let mut value: Map<String, Value> = Ending::ALL
        .into_iter()
        .map(|ending| (ending.as_str().to_owned(), json!(ledger.count(ending))))
        .collect();
    value.insert("accepted".to_owned(), json!(ledger.accepted));
    value.insert("live".to_owned(), json!(ledger.live));
    Value::Object(value)
}
