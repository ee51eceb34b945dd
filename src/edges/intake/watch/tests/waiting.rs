use super::super::folder::Shape;
use super::super::waiting::{Change, Closes, Found, Waiting};
use super::*;
use crate::ground::time::{self, Instant};

fn at(start: Instant, after: u64) -> Instant {
    time::later(start, ms(after)).unwrap()
}

fn found(bytes: u64, modified: i64) -> Option<Found> {
    Some(Found { shape: Shape::planted(1, bytes, modified), is_plain: true })
}

fn closes(closes: Closes) -> Waiting {
    Waiting::new(Patience { closes, ..rules().patience }, 3)
}

/// What may be taken now, looking at nothing.
fn taken(waiting: &mut Waiting) -> Vec<(String, bool)> {
    let next = std::iter::from_fn(|| waiting.take());
    next.map(|it| (it.name.to_string_lossy().into_owned(), it.is_closed)).collect()
}

/// What is to be looked at.
fn looks(waiting: &mut Waiting, now: Instant) -> Vec<u64> {
    waiting.next_looks(9, now).into_iter().map(|(_, round)| round).collect()
}

#[test]
fn what_was_closed_is_ready_at_once_in_the_order_of_closing() {
    let (mut waiting, now) = (closes(Closes::Told), time::now());
    waiting.changed(name("a"), Change::Made, now);
    waiting.changed(name("b"), Change::Finished, now);
    waiting.changed(name("a"), Change::Touched, now);
    assert_eq!(taken(&mut waiting), [("b".to_owned(), true)]);
    waiting.changed(name("a"), Change::Finished, now);
    assert_eq!(taken(&mut waiting), [("a".to_owned(), true)]);
    // The next one of that name is not claimed before this one is.
    waiting.changed(name("b"), Change::Finished, now);
    waiting.changed(name("a"), Change::Finished, now);
    waiting.released(&name("b"));
    assert_eq!(taken(&mut waiting), [("b".to_owned(), true)]);
    waiting.released(&name("a"));
    assert_eq!(taken(&mut waiting), [("a".to_owned(), true)]);
    assert!(waiting.is_empty() && waiting.due().is_none());
}

#[test]
fn what_is_written_again_before_it_is_taken_waits_for_the_next_close() {
    let (mut waiting, now) = (closes(Closes::Told), time::now());
    waiting.changed(name("a"), Change::Finished, now);
    waiting.changed(name("a"), Change::Touched, now);
    assert!(!waiting.has_ready() && waiting.take().is_none());
    // However slowly it is written.
    for after in [100, 1000, 20_000, 45_000] {
        assert!(looks(&mut waiting, at(now, after)).is_empty());
        waiting.changed(name("a"), Change::Touched, at(now, after));
    }
    waiting.changed(name("a"), Change::Finished, at(now, 45_001));
    assert_eq!(taken(&mut waiting).len(), 1);
}

#[test]
fn the_trailing_edge_counts_where_it_is_asked_for() {
    let patience = Patience { debounce: ms(100), ..rules().patience };
    let (mut waiting, now) = (Waiting::new(patience, 3), time::now());
    for after in [0, 90, 180] {
        assert!(waiting.next_looks(9, at(now, after)).is_empty() && !waiting.has_ready());
        waiting.changed(name("a"), Change::Finished, at(now, after));
    }
    assert_eq!(waiting.due(), Some(at(now, 280)));
    waiting.next_looks(9, at(now, 279));
    assert!(!waiting.has_ready());
    waiting.next_looks(9, at(now, 280));
    assert_eq!(taken(&mut waiting), [("a".to_owned(), true)]);
}

#[test]
fn without_closes_a_file_must_look_the_same_twice_with_time_in_between() {
    let (mut waiting, now) = (closes(Closes::Untold), time::now());
    waiting.changed(name("a"), Change::Made, now);
    waiting.changed(name("a"), Change::Touched, at(now, 5));
    assert!(looks(&mut waiting, at(now, 14)).is_empty());
    let mut clock = 15;
    // It grows, then is large, then rests.
    for (shape, wait) in [((10, 1), 10), ((11, 2), 10), ((2000, 3), 50), ((2000, 4), 50)] {
        let rounds = looks(&mut waiting, at(now, clock));
        assert_eq!(rounds.len(), 1, "at {clock}");
        waiting.looked(name("a"), rounds[0], found(shape.0, shape.1), at(now, clock));
        assert!(!waiting.has_ready() && looks(&mut waiting, at(now, clock + wait - 1)).is_empty());
        clock += wait;
    }
    let rounds = looks(&mut waiting, at(now, clock));
    waiting.looked(name("a"), rounds[0], found(2000, 4), at(now, clock));
    assert_eq!(taken(&mut waiting), [("a".to_owned(), false)]);
}

#[test]
fn a_look_from_before_a_change_counts_for_nothing() {
    let (mut waiting, now) = (closes(Closes::Untold), time::now());
    let shape = Shape::planted(1, 10, 1);
    waiting.found(name("a"), shape, now);
    let rounds = looks(&mut waiting, at(now, 10));
    waiting.changed(name("a"), Change::Touched, at(now, 11));
    waiting.looked(name("a"), rounds[0], found(10, 1), at(now, 12));
    assert!(!waiting.has_ready());
    assert_eq!(waiting.due(), Some(at(now, 21)));
}

#[test]
fn what_was_made_and_cannot_be_open_is_not_waited_for() {
    for (is_plain, due) in [(true, 30_010), (false, 20)] {
        let (mut waiting, now) = (closes(Closes::Told), time::now());
        waiting.changed(name("a"), Change::Made, now);
        let rounds = looks(&mut waiting, at(now, 10));
        let found = Found { shape: Shape::planted(1, 10, 1), is_plain };
        waiting.looked(name("a"), rounds[0], Some(found), at(now, 10));
        assert_eq!(waiting.due(), Some(at(now, due)));
    }
}

#[test]
fn what_is_gone_is_forgotten_and_what_does_not_fit_is_read_later() {
    let (mut waiting, now) = (closes(Closes::Told), time::now());
    for file in ["a", "b", "c", "d", "e"] {
        waiting.found(name(file), Shape::planted(1, 10, 1), now);
    }
    assert!(waiting.len() == 3 && !waiting.catches_up());
    for (file, round) in waiting.next_looks(9, at(now, 10)) {
        waiting.looked(file, round, None, at(now, 10));
    }
    assert_eq!((waiting.len(), waiting.is_empty()), (0, false));
    assert!(waiting.catches_up() && !waiting.catches_up() && waiting.is_empty());
}

#[test]
fn after_a_loss_what_was_open_is_looked_at_soon() {
    let (mut waiting, now) = (closes(Closes::Told), time::now());
    waiting.changed(name("a"), Change::Touched, now);
    waiting.changed(name("b"), Change::Finished, now);
    waiting.lost(at(now, 5));
    assert_eq!(waiting.due(), Some(at(now, 15)));
    assert_eq!(taken(&mut waiting).len(), 1);
}
