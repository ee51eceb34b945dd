//! Samples that need a process of their own: what a process has ever held shows in all it holds
//! later.
//!
//! The program calls itself with `--child NAME NUMBER`; the child prints its figures, or is the
//! server of the HTTP rows.

use std::process::Command;

use crate::http_transport::server;
use crate::worker_pool::flood;

pub const FLAG: &str = "--child";

/// Figures of a sample taken in a new process.
pub fn sample(name: &str, number: usize) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let child = Command::new(program).args([FLAG, name, &number.to_string()]).output();
    let child = child.expect("this program starts");
    let text = String::from_utf8_lossy(&child.stdout);
    let figures = text.split_whitespace().map(|figure| figure.parse().unwrap_or(f64::NAN));
    assert!(child.status.success(), "{name}: {}", String::from_utf8_lossy(&child.stderr));
    figures.collect()
}

/// Takes the sample and prints it, if this process is such a child.
pub fn was_asked() -> bool {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(FLAG) {
        return false;
    }
    let (name, number) = (args.next().unwrap_or_default(), args.next());
    if name == server::CHILD {
        server::serve();
        return true;
    }
    let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    flood::child(&name, number).iter().for_each(|figure| println!("{figure}"));
    true
}

/// What this process keeps in memory now, without the pages of the program itself: those are read
/// when code first runs, whoever's it is.
pub fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
