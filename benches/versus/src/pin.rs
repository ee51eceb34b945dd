//! Which cores may run us.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const SELF: Pid = Pid::from_raw(0);

/// How many cores a row may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    One,
    Two,
}

impl Cores {
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one_core",
            Self::Two => "two_cores",
        }
    }
}

/// Keeps this thread, and the threads it makes meanwhile, on the first so many of its cores.
pub struct Pinned(CpuSet);

impl Pinned {
    /// `None`: fewer cores are there.
    pub fn to(cores: Cores) -> Option<Self> {
        let before = sched_getaffinity(SELF).ok()?;
        let mut allowed = CpuSet::new();
        let ours = (0..CpuSet::count()).filter(|&cpu| before.is_set(cpu).unwrap_or(false));
        let mut taken = 0;
        for cpu in ours.take(cores.count()) {
            allowed.set(cpu).ok()?;
            taken += 1;
        }
        if taken < cores.count() {
            return None;
        }
        sched_setaffinity(SELF, &allowed).ok()?;
        Some(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = sched_setaffinity(SELF, &self.0) {
            eprintln!("# the thread stays pinned: {error}");
        }
    }
}
