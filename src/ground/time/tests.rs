//! The arithmetic of instants: what is beyond the ends, and to and from std's clock.

use std::time::{Duration, Instant as StdInstant};

use super::instant::Instant;

const HOUR: Duration = Duration::from_secs(3_600);
const CENTURY: Duration = Duration::from_secs(100 * 31_557_600);

#[test]
fn arithmetic_is_exact_and_stops_at_the_ends() {
    let now = Instant::now();
    assert_eq!((now + HOUR) - now, HOUR);
    assert_eq!((now - HOUR) + HOUR, now);
    assert_eq!(now - (now + HOUR), Duration::ZERO);
    assert_eq!((now + HOUR).nanos_since(now), 3_600_000_000_000);
    assert_eq!(now.checked_add(HOUR), Some(now + HOUR));
    assert_eq!(now.checked_sub(HOUR), Some(now - HOUR));
    let (last, earliest) = (now + Duration::MAX, now - Duration::MAX);
    assert_eq!((last + HOUR, earliest - HOUR), (last, earliest));
    assert_eq!((last.checked_add(HOUR), earliest.checked_sub(HOUR)), (None, None));
    assert_eq!((now.checked_add(Duration::MAX), now.checked_sub(Duration::MAX)), (None, None));
    assert!(now.checked_add(4 * CENTURY).is_some() && now.checked_sub(CENTURY).is_some());
}

#[test]
fn an_instant_and_the_option_of_one_are_eight_bytes() {
    assert_eq!(size_of::<Option<Instant>>(), 8);
}

#[test]
fn std_and_back_is_the_same_instant() {
    let now = StdInstant::now();
    for at in [now, now + HOUR, now + CENTURY].into_iter().chain(now.checked_sub(HOUR)) {
        let ours = Instant::from(at);
        assert_eq!(StdInstant::from(ours), at);
        assert_eq!(ours - Instant::from(now), at.saturating_duration_since(now));
        assert_eq!(Instant::from(tokio::time::Instant::from_std(at)), ours);
        assert_eq!(format!("{ours:?}"), format!("{at:?}"));
    }
    // Whatever the platform makes of the ends, they are no panic.
    let ends = [Instant::from(now) + Duration::MAX, Instant::from(now) - Duration::MAX];
    let _ = ends.map(StdInstant::from).map(|at| at.elapsed());
}
