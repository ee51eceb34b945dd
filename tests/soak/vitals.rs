//! What a process shows of itself, and whether it grows.

use super::heap;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    pub(crate) live_bytes: i64,
    live_blocks: i64,
    /// Without the pages of the program itself.
    resident_kib: i64,
    tasks: i64,
    threads: i64,
    pub(crate) files: i64,
}

/// A figure, how much more than before is noise, and the share of it that is.
type Figure = (&'static str, fn(&Vitals) -> i64, i64, f64);

const FIGURES: [Figure; 6] = [
    ("live_bytes", |look| look.live_bytes, 512 << 10, 0.10),
    ("live_blocks", |look| look.live_blocks, 4_000, 0.10),
    // An allocator that gives back nothing, with an arena for every thread.
    ("resident_kib", |look| look.resident_kib, 12 << 10, 0.15),
    ("tasks", |look| look.tasks, 12, 0.05),
    // Those for blocking work come and go.
    ("threads", |look| look.threads, 12, 0.0),
    ("files", |look| look.files, 24, 0.0),
];

impl Vitals {
    /// From inside of a runtime.
    pub(crate) fn look() -> Self {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Self { tasks: tasks as i64, ..Self::outside() }
    }

    pub(crate) fn outside() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count() as i64;
        let (live_bytes, live_blocks) = heap::live();
        let (resident_kib, threads) = (number("RssAnon:"), number("Threads:"));
        Self { live_bytes, live_blocks, resident_kib, tasks: 0, threads, files }
    }
}

/// What is more at the end than it was in the second and third tenth: by the median of three tenths,
/// which a single peak does not move.
pub(crate) fn grows(looks: &[Vitals]) -> Vec<String> {
    let tenth = looks.len() / 10;
    assert!(tenth >= 3, "too few looks: {}", looks.len());
    let (early, late) = (&looks[tenth..4 * tenth], &looks[looks.len() - 3 * tenth..]);
    let grown = FIGURES.iter().filter_map(|&(name, figure, slack, share)| {
        let (before, after) = (median(early, figure), median(late, figure));
        let most = before + slack + (before as f64 * share) as i64;
        (after > most).then(|| format!("{name}: {before} before, {after} after"))
    });
    grown.collect()
}

fn median(looks: &[Vitals], figure: fn(&Vitals) -> i64) -> i64 {
    let mut figures: Vec<i64> = looks.iter().map(figure).collect();
    figures.sort_unstable();
    figures[figures.len() / 2]
}
