//! What one sees while it runs: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use headworks::Priority;
use headworks::pipeline::PipelineSnapshot;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::now;
use crate::tally::Tally;

/// How long between two lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on standard error, so that standard output holds the summary alone.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    look: Look,
}

#[derive(Debug)]
enum Look {
    Bar(ProgressBar),
    Lines {
        last: Instant,
    },
    #[cfg(test)]
    Nothing,
}

impl Progress {
    /// `total` is known when documents are generated.
    pub(crate) fn start(total: Option<u64>) -> Self {
        let started = now();
        let look = match stderr().is_terminal() {
            true => Look::Bar(bar(total)),
            false => Look::Lines { last: started },
        };
        Self { started, look }
    }

    #[cfg(test)]
    pub(crate) fn hidden() -> Self {
        Self { started: now(), look: Look::Nothing }
    }

    /// `total` may become known in the course of time.
    pub(crate) fn show(&mut self, pipeline: &PipelineSnapshot, tally: &Tally, total: Option<u64>) {
        let now = now();
        let line = line(pipeline, tally, now.saturating_duration_since(self.started));
        match &mut self.look {
            Look::Bar(bar) => {
                if let (Some(total), None) = (total, bar.length()) {
                    bar.set_length(total);
                    bar.set_style(style(Some(total)));
                }
                bar.set_position(tally.documents());
                bar.set_message(line);
            }
            Look::Lines { last } if now.saturating_duration_since(*last) >= LINES_EVERY => {
                *last = now;
                let of = total.map_or_else(String::new, |total| format!("/{total}"));
                eprintln!("{}{of} documents, {line}", tally.documents());
            }
            Look::Lines { .. } => {}
            #[cfg(test)]
            Look::Nothing => {}
        }
    }

    /// Clears the bar and tells how long it took.
    pub(crate) fn finish(self) -> Duration {
        if let Look::Bar(bar) = &self.look {
            bar.finish_and_clear();
        }
        now().saturating_duration_since(self.started)
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_style(style(total))
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{bar:24} {pos}/{len} documents, {msg}",
        None => "{spinner} {pos} documents, {msg}",
    };
    ProgressStyle::with_template(template).expect("a constant, tested")
}

/// Rate and queue depth by priority, most urgent first.
fn line(pipeline: &PipelineSnapshot, tally: &Tally, elapsed: Duration) -> String {
    let rate = tally.committed() as f64 / elapsed.as_secs_f64().max(0.001);
    let depth = |(class, depth): (&Priority, &usize)| format!("{class} {depth}");
    let queued: Vec<_> = Priority::ALL.iter().zip(&pipeline.queued).rev().map(depth).collect();
    format!(
        "{} committed, {rate:.0}/s, {} running, {} parked, queued: {}",
        tally.committed(),
        pipeline.busy,
        pipeline.parked,
        queued.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_templates_are_valid() {
        for total in [None, Some(5)] {
            bar(total).finish_and_clear();
        }
    }
}
