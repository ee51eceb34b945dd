//! The summary for people: one line for each document that was not committed, then the sums.

use std::collections::HashSet;
use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::{Asked, SHARES, Summary};
use crate::failure::Failure;
use crate::git::Report;
use crate::latency::Latencies;
use crate::phases::{DEPLOYMENT_VERIFICATION, GIT_OPS_COMMIT, LLM_PROCESSING};
use crate::tally::{Skipped, Tally};

impl Summary {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes any text");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        self.write_each(out)?;
        self.write_documents(out)?;
        self.write_classes(out)?;
        self.write_backends(out)?;
        self.write_commits(out)?;
        writeln!(out, "ledger      {}", self.drained.ledger)?;
        if !self.adds_up() {
            writeln!(out, "THE LEDGER DOES NOT ADD UP")?;
        }
        Ok(())
    }

    /// What needs somebody's eye, by name.
    fn write_each(&self, out: &mut String) -> fmt::Result {
        let Tally { skipped, warnings, failures, .. } = &self.tally;
        for Skipped { file, document, kind } in skipped {
            writeln!(out, "skipped {file}#{document}: {kind}")?;
        }
        for warning in warnings {
            writeln!(out, "{warning}")?;
        }
        let pushed: HashSet<_> = self.commits.unverified().map(|commit| &*commit.key).collect();
        for failure in failures {
            writeln!(out, "{}{}", self.failure_line(failure), commit_of(failure, &pushed))?;
        }
        // A drain names keys; those of a document that has ended stand above already.
        let named: HashSet<_> =
            failures.iter().filter_map(|failure| failure.key.as_deref()).collect();
        let unnamed = |key: &&str| !named.contains(key);
        for key in self.drained.indeterminate.iter().map(|key| &**key).filter(unnamed) {
            writeln!(out, "indeterminate ({key}): its commit may be there or not")?;
        }
        for key in self.drained.unresponsive.iter().map(|key| &**key).filter(unnamed) {
            writeln!(out, "unresponsive ({key}): did not stop when it was asked to")?;
        }
        Ok(())
    }

    fn failure_line(&self, failure: &Failure) -> String {
        let Failure { ending, file, document, rule, .. } = failure;
        let mut line = format!("{ending} {file}#{document}");
        if let Some(key) = &failure.key {
            line += &format!(" ({key})");
        }
        if let Some(phase) = failure.phase {
            line += &format!(" in {phase}");
        }
        if failure.phase == Some(LLM_PROCESSING) && !failure.by_content {
            line += &format!(", asking {}", self.llm.url);
        }
        if let Some(pointer) = &failure.pointer {
            line += &format!(" at {pointer:?}");
        }
        line + ": " + rule
    }

    fn write_documents(&self, out: &mut String) -> fmt::Result {
        let tally = &self.tally;
        let Tally { invalid, accepted, not_submitted, .. } = tally;
        let (all, skipped, refused) = (tally.documents(), tally.skipped.len(), tally.refused());
        writeln!(
            out,
            "documents   {all} = skipped {skipped} + invalid {invalid} + accepted {accepted} + \
             refused {refused}"
        )?;
        if *not_submitted > 0 {
            let to_be = all + not_submitted;
            writeln!(out, "            {not_submitted} not submitted, of {to_be} to be generated")?;
        }
        let committed = tally.committed();
        let by_content = tally.failures.iter().filter(|failure| failure.by_content).count();
        let other = tally.failures.len() - by_content;
        writeln!(
            out,
            "outcome     committed {committed}, failed by content {by_content}, other failures \
             {other}"
        )?;
        writeln!(out, "refusals    {}", counts(self.refusals()))?;
        let seconds = self.elapsed.as_secs_f64();
        writeln!(out, "rate        {:.0} commits/s over {seconds:.1} s", self.rate())
    }

    fn write_classes(&self, out: &mut String) -> fmt::Result {
        let heads = |what: &str| SHARES.map(|(share, _)| format!("{what} {share}"));
        writeln!(out, "priority       ended{}{}", cells(heads("wait")), cells(heads("total")))?;
        for (priority, class) in self.classes() {
            let (name, count) = (priority.to_string(), class.total.count());
            let (wait, total) = (percentiles(&class.wait), percentiles(&class.total));
            writeln!(out, "  {name:<10}{count:>8}{}{}", cells(wait), cells(total))?;
        }
        Ok(())
    }

    fn write_backends(&self, out: &mut String) -> fmt::Result {
        let Asked { url, timeout, served } = &self.llm;
        match served {
            None => writeln!(out, "llm         {url}")?,
            Some(served) => {
                let kinds = served.named().into_iter().filter(|(_, count)| *count > 0);
                writeln!(
                    out,
                    "llm         a stand-in, {} calls: {}",
                    served.total(),
                    counts(kinds)
                )?;
            }
        }
        if served.is_some_and(|served| served.hang > 0) {
            writeln!(
                out,
                "            a hang is made on purpose: each cost {timeout:?} (--llm-timeout), then \
                 a retry"
            )?;
        }
        let (pool, budget) = (&self.transport.in_all, &self.pipeline.retry_budget);
        writeln!(out, "connections {} opened, {} reused", pool.opened, pool.reused)?;
        let (paid, denied) = (budget.withdrawn, budget.refused);
        writeln!(out, "retries     {paid} paid by their budget, {denied} denied")
    }

    fn write_commits(&self, out: &mut String) -> fmt::Result {
        let Report { committed, repeated, pushes, failed_pushes, unknown, .. } = &self.commits;
        let temporary = if self.temporary { " (temporary, removed)" } else { "" };
        writeln!(out, "repository  {}{temporary}", self.target)?;
        let unverified = match self.commits.unverified().count() {
            0 => String::new(),
            some => format!(" ({some} pushed, not verified)"),
        };
        writeln!(out, "commits     {committed} new{unverified}, {repeated} there already")?;
        writeln!(out, "pushes      {pushes}, of which {failed_pushes} failed")?;
        if !unknown.is_empty() {
            let keys = unknown.join(", ");
            writeln!(
                out,
                "            the target did not say whether it has the last one: {keys}"
            )?;
        }
        Ok(())
    }
}

/// What is known of the commit of an intent that did not end as committed.
fn commit_of(failure: &Failure, pushed: &HashSet<&str>) -> &'static str {
    let was_begun = [Some(GIT_OPS_COMMIT), Some(DEPLOYMENT_VERIFICATION)].contains(&failure.phase);
    match &failure.key {
        Some(key) if was_begun && pushed.contains(&**key) => "; its commit is pushed, not verified",
        _ if failure.indeterminate => "; its commit may be there all the same",
        _ => "",
    }
}

/// `kind count, kind count`, or `none`.
fn counts(counts: impl IntoIterator<Item = (&'static str, u64)>) -> String {
    let parts: Vec<_> = counts.into_iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn cells(texts: [String; 3]) -> String {
    texts.iter().map(|text| format!("{text:>11}")).collect()
}

fn percentiles(latencies: &Latencies) -> [String; 3] {
    SHARES.map(|(_, share)| match latencies.percentile(share) {
        Some(latency) => two_digits(latency).to_string(),
        None => "-".to_owned(),
    })
}

/// With two significant digits, which is what the percentiles are good for; below 10 µs it is
/// nothing to anybody here.
pub(super) fn two_digits(latency: Duration) -> impl Display {
    let millis = latency.as_secs_f64() * 1_000.0;
    let (number, unit) = if millis < 999.5 { (millis, "ms") } else { (millis / 1_000.0, "s") };
    let digits = match number {
        ..0.995 => 2,
        ..9.95 => 1,
        _ => 0,
    };
    // Above a hundred the last digits before the point are not significant either.
    let number = if number >= 99.5 { (number / 10.0).round() * 10.0 } else { number };
    if millis < 0.005 { "0 ms".to_owned() } else { format!("{number:.digits$} {unit}") }
}
