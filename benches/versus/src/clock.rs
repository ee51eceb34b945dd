//! Wall and CPU time of a stretch of work.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Started before the work, asked after it.
pub struct Stretch {
    wall: Instant,
    cpu_ns: f64,
}

impl Stretch {
    pub fn start() -> Self {
        Self { cpu_ns: cpu_ns(), wall: Instant::now() }
    }

    pub fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    /// User and system time of the whole process since the start.
    pub fn cpu_ns(&self) -> f64 {
        cpu_ns() - self.cpu_ns
    }
}

fn cpu_ns() -> f64 {
    match getrusage(UsageWho::RUSAGE_SELF) {
        Ok(usage) => (usage.user_time() + usage.system_time()).num_microseconds() as f64 * 1e3,
        Err(_) => f64::NAN,
    }
}
