//! What one is told when a service has stopped, in words or as JSON.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use headworks::Ending;
use headworks::intake::http::{HttpIntakeReport, HttpIntakeSnapshot};
use headworks::intake::{WatchReport, WatchSnapshot};
use headworks::pipeline::DrainReport;
use serde_json::{Map, Value, json};

use crate::git::Report;
use crate::intent::NetworkIntent;
use crate::parts::Ended;

/// Everything that is known when all is over. Sums, because it may have run for months: each intent
/// had its own answer.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) drained: DrainReport<Arc<NetworkIntent>>,
    pub(crate) files: Option<(WatchSnapshot, WatchReport)>,
    pub(crate) requests: Option<(HttpIntakeSnapshot, HttpIntakeReport)>,
    pub(crate) parts: Ended,
    /// Whether what was not finished is kept for the next start.
    pub(crate) is_kept: bool,
    pub(crate) ran: Duration,
}

impl Stopped {
    /// Exit code 0: the ledger adds up, and nothing was cut off but what is kept.
    pub(crate) fn is_clean(&self) -> bool {
        let drained = &self.drained;
        let ledger = &drained.ledger;
        let is_finished =
            drained.returned.is_empty() && ledger.live + ledger.count(Ending::Cancelled) == 0;
        ledger.is_exact()
            && (is_finished || self.is_kept)
            && self.parts.commits.is_some()
            && drained.indeterminate.is_empty()
            && drained.unresponsive.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes any text");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let drained = &self.drained;
        for one in &drained.returned {
            let kept = if self.is_kept { ", kept for the next start" } else { "" };
            writeln!(out, "not finished ({}): the time to drain was up{kept}", one.intent.key)?;
        }
        for key in &drained.indeterminate {
            writeln!(out, "indeterminate ({key}): its commit may be there or not")?;
        }
        for key in &drained.unresponsive {
            writeln!(out, "unresponsive ({key}): did not stop when it was asked to")?;
        }
        if let Some((seen, report)) = &self.files {
            let WatchReport { processed, failed, left, .. } = report;
            writeln!(out, "files       {processed} processed, {failed} failed, {left} left")?;
            if let Some(trouble) = &seen.trouble {
                writeln!(out, "            {trouble}")?;
            }
        }
        if let Some((seen, report)) = &self.requests {
            let HttpIntakeSnapshot { accepted, refused, rejected, .. } = seen;
            let cut = report.connections_cut;
            writeln!(
                out,
                "requests    {accepted} documents accepted, {refused} refused, {rejected} rejected, \
                 {cut} connections cut"
            )?;
        }
        let target = &self.parts.target;
        match &self.parts.commits {
            Some(Report { committed, pushes, .. }) => {
                writeln!(out, "commits     {committed} in {pushes} pushes to {target}")?;
            }
            None => writeln!(out, "commits     not known: the last push to {target} was cut off")?,
        }
        writeln!(out, "ran         {:.1} s", self.ran.as_secs_f64())?;
        writeln!(out, "ledger      {}", drained.ledger)
    }

    pub(crate) fn json(&self) -> Value {
        let drained = &self.drained;
        let keys = |keys: &[Arc<str>]| keys.iter().map(|key| key.to_string()).collect::<Vec<_>>();
        let returned: Vec<_> = drained.returned.iter().map(|one| &*one.intent.key).collect();
        json!({
            "ledger": ledger(drained),
            "returned": returned,
            "kept": self.is_kept,
            "indeterminate": keys(&drained.indeterminate),
            "unresponsive": keys(&drained.unresponsive),
            "files": self.files.as_ref().map(|(seen, report)| json!({
                "processed": report.processed,
                "failed": report.failed,
                "left": report.left,
                "duplicates": seen.duplicates,
                "recovered": seen.recovered,
            })),
            "requests": self.requests.as_ref().map(|(seen, report)| json!({
                "accepted": seen.accepted,
                "refused": seen.refused,
                "rejected": seen.rejected,
                "replayed": seen.replayed,
                "answers_by_class": seen.answers(),
                "connections_cut": report.connections_cut,
            })),
            "target": self.parts.target,
            "commits": self.parts.commits.as_ref().map(|commits| json!({
                "committed": commits.committed,
                "repeated": commits.repeated,
                "pushes": commits.pushes,
                "failed_pushes": commits.failed_pushes,
                "unknown": commits.unknown,
            })),
            "ran_seconds": self.ran.as_secs_f64(),
            "clean": self.is_clean(),
        })
    }
}

fn ledger<P>(drained: &DrainReport<P>) -> Map<String, Value> {
    let ledger = &drained.ledger;
    let counts = Ending::ALL.map(|ending| (ending.as_str(), ledger.count(ending)));
    let all = counts.into_iter().chain([("accepted", ledger.accepted), ("live", ledger.live)]);
    all.map(|(name, count)| (name.to_owned(), json!(count))).collect()
}
