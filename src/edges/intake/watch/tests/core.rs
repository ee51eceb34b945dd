use super::super::core::{Command, Core, Told};
use super::super::finish::Finished;
use super::super::folder::Shape;
use super::super::line::{DocumentNo, FileNo};
use super::super::status::{Status, Verdict};
use super::super::take::Taken;
use super::super::waiting::Change;
use super::*;
use crate::ground::time::{self, Instant};
use crate::{Ending, Reason, Scope};

/// A core that has read its directory, at a time that the test moves.
struct Bench {
    core: Core<u32>,
    now: Instant,
    claimed: std::collections::BTreeMap<FileNo, Arc<OsStr>>,
}

fn intent(key: &str, n: u32) -> Intent<u32> {
    Intent::new(key, n)
}

fn shape(n: i64) -> Shape {
    Shape::planted(1, 10, n)
}

impl Bench {
    fn new(rules: Rules) -> Self {
        let claimed = std::collections::BTreeMap::new();
        let mut bench = Self { core: Core::new(rules), now: time::now(), claimed };
        assert!(matches!(bench.next(), Some(Command::Recover)));
        bench.core.recovered(Ok((Vec::new(), 0)), bench.now);
        assert!(matches!(bench.next(), Some(Command::Scan(100))));
        bench.core.scanned(Ok((Vec::new(), false)), bench.now);
        assert!(bench.next().is_none() && bench.core.is_idle());
        bench
    }

    fn next(&mut self) -> Option<Command<u32>> {
        self.core.next(self.now)
    }

    fn pass(&mut self, after: u64) {
        self.now = time::later(self.now, ms(after)).unwrap();
    }

    fn write(&mut self, file: &str) {
        self.core.changed(name(file), Change::Finished, self.now);
    }

    fn claim(&mut self) -> FileNo {
        match self.next() {
            Some(Command::Claim(no, own)) => {
                self.claimed.insert(no, Arc::clone(&own));
                self.core.claims(no, own);
                no
            }
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, no: FileNo, content: u8, documents: Vec<Result<Intent<u32>, Rejected>>) {
        let taken = Taken::Read { shape: shape(1), hash: [content; 32], documents };
        let own = self.claimed.remove(&no);
        self.core.taken(no, own, taken, self.now);
    }

    /// Writes, claims and reads a file of one document.
    fn take(&mut self, content: u8, intent: Intent<u32>) -> FileNo {
        self.write(&format!("{content}"));
        let no = self.claim();
        self.read(no, content, vec![Ok(intent)]);
        no
    }

    fn submits(&mut self) -> (DocumentNo, Intent<u32>) {
        match self.next() {
            Some(Command::Submit(no, intent)) => (no, intent),
            other => panic!("{other:?}"),
        }
    }

    fn admit(&mut self) -> DocumentNo {
        let (no, _) = self.submits();
        self.core.admitted(no);
        no
    }

    fn refuse(&mut self, reason: Reason, after: Option<u64>) -> DocumentNo {
        let (no, intent) = self.submits();
        self.core.refused(no, intent, (reason, after.map(ms)), self.now);
        no
    }

    fn told(&mut self, no: DocumentNo, ending: Ending, intent: Option<Intent<u32>>) {
        let told = Told { ending, phase: None, error: None, intent, is_unkept: false };
        self.core.told(no, told, self.now);
    }

    fn finishes(&mut self) -> (FileNo, Status) {
        match self.next() {
            Some(Command::Finish(no, _, _, status)) => (no, status),
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self) -> Status {
        let (no, status) = self.finishes();
        self.core.finished(no, Finished::Done, self.now);
        status
    }

    fn rests(&mut self) {
        let next = self.next();
        assert!(next.is_none(), "{next:?}");
    }
}

#[test]
fn a_file_is_claimed_read_run_and_put_away() {
    let mut bench = Bench::new(rules());
    let no = bench.take(1, intent("a", 1));
    assert!(!bench.core.is_idle());
    let document = bench.admit();
    assert_eq!(document, (no, 0));
    bench.rests();
    bench.told(document, Ending::Completed, None);
    let status = bench.finish();
    assert_eq!((status.state, status.documents[0].end.as_str()), (Verdict::Processed, "completed"));
    assert!(bench.core.is_idle() && bench.core.due(bench.now).is_none());
}

#[test]
fn the_end_of_a_file_is_that_of_its_documents() {
    type Documents = Vec<Result<Intent<u32>, Rejected>>;
    let invalid = || Err(Rejected::invalid("/a", "no"));
    let skipped = || Err(Rejected::skipped("a schema"));
    let table: [(Documents, Option<Ending>, Verdict); 8] = [
        (vec![], None, Verdict::Processed),
        (vec![skipped()], None, Verdict::Processed),
        (vec![skipped(), invalid()], None, Verdict::Failed),
        (vec![Ok(intent("a", 1)), invalid()], Some(Ending::Completed), Verdict::Failed),
        (vec![Ok(intent("a", 1)), skipped()], Some(Ending::Completed), Verdict::Processed),
        (vec![Ok(intent("a", 1))], Some(Ending::Superseded), Verdict::Processed),
        (vec![Ok(intent("a", 1))], Some(Ending::Failed), Verdict::Failed),
        (vec![Ok(intent("a", 1))], Some(Ending::Expired), Verdict::Failed),
    ];
    for (documents, ending, verdict) in table {
        let mut bench = Bench::new(rules());
        bench.write("a");
        let (no, so_many) = (bench.claim(), documents.len());
        bench.read(no, 1, documents);
        if let Some(ending) = ending {
            let document = bench.admit();
            bench.told(document, ending, None);
        }
        let status = bench.finish();
        assert_eq!((status.state, status.documents.len()), (verdict, so_many));
        bench.rests();
    }
}

#[test]
fn documents_go_by_class_then_as_their_files_were_taken() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1).priority(Priority::Low));
    bench.refuse(Reason::Paused, Some(50));
    bench.take(2, intent("b", 2).priority(Priority::High));
    bench.take(3, intent("c", 3).priority(Priority::High));
    bench.rests();
    assert_eq!(bench.core.due(bench.now), time::later(bench.now, ms(50)));
    bench.pass(49);
    bench.rests();
    bench.pass(1);
    let order: Vec<u32> = (0..3).map(|_| bench.submits().1.payload).collect();
    assert_eq!(order, [2, 3, 1]);
}

#[test]
fn nothing_is_told_before_what_was_taken_earlier_is_read() {
    let mut bench = Bench::new(rules());
    bench.write("a");
    bench.write("b");
    let (first, second) = (bench.claim(), bench.claim());
    bench.read(second, 2, vec![Ok(intent("x", 2))]);
    bench.rests();
    bench.read(first, 1, vec![Ok(intent("x", 1))]);
    assert_eq!(bench.submits().1.payload, 1);
    assert_eq!(bench.submits().1.payload, 2);
}

#[test]
fn what_is_accepted_supersedes_what_waits_and_is_older() {
    let mut bench = Bench::new(rules());
    let old = intent("x", 1).priority(Priority::Low);
    let other = intent("y", 1).priority(Priority::Low);
    bench.take(1, old);
    bench.refuse(Reason::QueueFull, Some(1000));
    bench.take(2, other);
    bench.take(3, intent("x", 3).priority(Priority::Low).generation(1));
    bench.take(4, intent("x", 4).priority(Priority::High));
    let newest = bench.admit();
    assert_eq!(newest.0, 4);
    // The one with a generation is for the pipeline to judge, unless what came has none.
    let ended: Vec<_> = (0..2).map(|_| bench.finish().documents.remove(0).end).collect();
    assert_eq!(ended, ["superseded", "superseded"]);
    bench.pass(1000);
    assert_eq!(bench.submits().0.0, 2);
    bench.rests();
}

#[test]
fn who_is_refused_holds_those_that_would_be_refused_too_and_no_others() {
    let low = |tenant: &str| intent(&format!("{tenant}/x"), 0).priority(Priority::Low);
    let table = [
        // The reason; whether another tenant, and a higher class, may go on meanwhile.
        (Reason::RateLimited { scope: Scope::Key }, true, true),
        (Reason::RateLimited { scope: Scope::Global }, false, false),
        (Reason::QueueFull, false, true),
        (Reason::CircuitOpen, false, false),
    ];
    for (reason, other_goes, higher_goes) in table {
        let mut bench = Bench::new(rules());
        bench.take(1, low("a"));
        bench.refuse(reason, Some(100));
        bench.take(2, low("a"));
        bench.rests();
        bench.take(3, low("b"));
        assert_eq!(bench.next().is_some(), other_goes, "{reason}");
        bench.take(4, intent("c/x", 0).priority(Priority::High));
        assert_eq!(bench.next().is_some(), higher_goes, "{reason}");
        bench.pass(100);
        // The highest of those that are left.
        let next = if higher_goes { 1 } else { 4 };
        assert_eq!(bench.submits().0.0, next, "{reason}");
    }
}

#[test]
fn an_end_of_our_own_is_worth_one_try_where_a_place_is_missing() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let running = bench.admit();
    bench.take(2, intent("b", 2));
    bench.refuse(Reason::QueueFull, Some(60_000));
    bench.rests();
    bench.told(running, Ending::Completed, None);
    bench.finish();
    bench.refuse(Reason::QueueFull, Some(60_000));
    bench.rests();
}

#[test]
fn a_refusal_for_good_ends_the_document_and_who_does_not_say_when_is_asked_ever_more_rarely() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let mut waits = Vec::new();
    for _ in 0..9 {
        bench.refuse(Reason::Paused, None);
        bench.rests();
        let due = bench.core.due(bench.now).unwrap();
        waits.push(due.saturating_duration_since(bench.now).as_millis());
        bench.now = due;
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    bench.refuse(Reason::Stale, None);
    let status = bench.finish();
    assert_eq!((status.state, status.documents[0].end.as_str()), (Verdict::Failed, "refused"));
}

#[test]
fn what_is_evicted_waits_again_and_is_read_again_if_its_intent_is_gone() {
    let mut bench = Bench::new(rules());
    let no = bench.take(1, intent("a", 1));
    let document = bench.admit();
    bench.told(document, Ending::Evicted, Some(intent("a", 1)));
    bench.rests();
    bench.pass(100);
    bench.admit();
    bench.told(document, Ending::Evicted, None);
    assert!(matches!(bench.next(), Some(Command::Read(read, _)) if read == no));
    bench.read(no, 1, vec![Ok(intent("a", 1))]);
    bench.pass(200);
    bench.admit();
    bench.told(document, Ending::Completed, None);
    assert_eq!(bench.finish().documents[0].end, "completed");
    bench.rests();
}

#[test]
fn the_same_content_is_not_run_while_it_has_the_last_word() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("x", 5));
    let first = bench.admit();
    // While it runs, and after its end.
    bench.take(1, intent("x", 5));
    bench.rests();
    bench.told(first, Ending::Completed, None);
    assert_eq!([bench.finish().duplicate, bench.finish().duplicate], [false, true]);
    bench.take(1, intent("x", 5));
    assert!(bench.finish().duplicate);
    // Five, then three, then five: that is another wish.
    bench.take(2, intent("x", 3));
    let second = bench.admit();
    bench.take(1, intent("x", 5));
    let third = bench.admit();
    assert_ne!(second, third);
    bench.told(second, Ending::Completed, None);
    bench.told(third, Ending::Completed, None);
    assert!(!bench.finish().duplicate && !bench.finish().duplicate);
    bench.pass(1000);
    bench.take(1, intent("x", 5));
    bench.admit();
}

#[test]
fn the_same_content_is_run_if_the_first_came_to_no_good_end() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("x", 5));
    let first = bench.admit();
    let again = bench.take(1, intent("x", 5));
    bench.rests();
    bench.told(first, Ending::Failed, None);
    let (failed, _) = bench.finishes();
    assert_eq!(bench.admit(), (again, 0));
    bench.core.finished(failed, Finished::Done, bench.now);
    bench.told((again, 0), Ending::Failed, None);
    assert!(!bench.finish().duplicate);
    bench.take(1, intent("x", 5));
    bench.admit();
}

#[test]
fn what_was_not_seen_closed_and_is_rejected_gets_the_benefit_of_the_doubt() {
    let mut bench = Bench::new(rules());
    bench.core.rescan();
    assert!(matches!(bench.next(), Some(Command::Scan(_))));
    bench.core.scanned(Ok((vec![(name("a"), shape(1))], false)), bench.now);
    bench.pass(10);
    let Some(Command::Look(names)) = bench.next() else { panic!() };
    let found = super::super::waiting::Found { shape: shape(1), is_plain: true };
    bench.core.looked(vec![(Arc::clone(&names[0].0), names[0].1, Some(found))], bench.now);
    let no = bench.claim();
    let cut_off = || vec![Err(Rejected::invalid("", "cut off"))];
    for (content, wait) in [(1, 1000), (2, 1000)] {
        bench.read(no, content, cut_off());
        bench.pass(wait - 1);
        bench.rests();
        bench.pass(1);
        assert!(matches!(bench.next(), Some(Command::Read(..))));
    }
    // It has not changed: it is meant so.
    bench.read(no, 2, cut_off());
    assert_eq!(bench.finish().state, Verdict::Failed);
}

#[test]
fn a_disk_that_fails_stops_the_intake_and_loses_nothing() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let document = bench.admit();
    bench.told(document, Ending::Completed, None);
    let (no, _) = bench.finishes();
    let full = || Finished::Blocked { why: "no space".to_owned(), is_of_one: false };
    bench.core.finished(no, full(), bench.now);
    bench.write("b");
    bench.rests();
    assert_eq!(bench.core.trouble(), Some("no space"));
    for wait in [100, 200, 400] {
        assert_eq!(bench.core.due(bench.now), time::later(bench.now, ms(wait)));
        bench.pass(wait);
        let (no, _) = bench.finishes();
        bench.rests();
        bench.core.finished(no, full(), bench.now);
    }
    bench.pass(800);
    bench.finish();
    assert_eq!(bench.core.trouble(), None);
    // And a claim that fails leaves the file where it is.
    let no = bench.claim();
    let blocked = Taken::Blocked { why: "read-only".to_owned(), is_of_one: false };
    bench.core.taken(no, Some(name("b")), blocked, bench.now);
    bench.rests();
    bench.pass(100);
    bench.claim();
}

/// Say, one that is somebody else's in a sticky directory, beside others that are not.
#[test]
fn a_file_that_cannot_be_taken_holds_up_no_other_one() {
    let blocked = || Taken::Blocked { why: "not permitted".to_owned(), is_of_one: true };
    let mut bench = Bench::new(rules());
    bench.write("odd");
    for wait in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        let no = bench.claim();
        let own = bench.claimed.remove(&no);
        bench.core.taken(no, own, blocked(), bench.now);
        assert_eq!(bench.core.trouble(), Some("not permitted"));
        let other = bench.take(1, intent("a", wait as u32));
        assert_eq!(bench.admit(), (other, 0));
        bench.told((other, 0), Ending::Completed, None);
        bench.finish();
        assert_eq!(bench.core.due(bench.now), time::later(bench.now, ms(wait)));
        bench.pass(wait - 1);
        bench.rests();
        assert!(!bench.core.is_idle());
        bench.pass(1);
        bench.now += ms(1000);
    }
    // Whoever writes it anew has it tried at once.
    let no = bench.claim();
    let own = bench.claimed.remove(&no);
    bench.core.taken(no, own, blocked(), bench.now);
    bench.write("odd");
    let no = bench.claim();
    bench.read(no, 9, vec![]);
    assert_eq!(bench.core.trouble(), None);
    bench.finish();
    assert!(bench.core.is_idle());
    // And one that is taken away is no trouble any more.
    bench.write("odd");
    let no = bench.claim();
    let own = bench.claimed.remove(&no);
    bench.core.taken(no, own, blocked(), bench.now);
    bench.pass(100);
    let no = bench.claim();
    let own = bench.claimed.remove(&no);
    bench.core.taken(no, own, Taken::Gone, bench.now);
    assert_eq!(bench.core.trouble(), None);
    assert!(bench.core.is_idle());
}

#[test]
fn a_file_that_cannot_be_put_away_holds_up_no_other_one() {
    let mut bench = Bench::new(rules());
    let odd = bench.take(1, intent("a", 1));
    bench.admit();
    bench.told((odd, 0), Ending::Completed, None);
    for wait in [100, 200] {
        let (no, _) = bench.finishes();
        assert_eq!(no, odd);
        let blocked = Finished::Blocked { why: "its name is taken".to_owned(), is_of_one: true };
        bench.core.finished(no, blocked, bench.now);
        let other = bench.take(2, intent("b", 1));
        assert_eq!(bench.admit(), (other, 0));
        bench.told((other, 0), Ending::Completed, None);
        bench.finish();
        assert_eq!(bench.core.trouble(), Some("its name is taken"));
        bench.pass(wait);
        bench.now += ms(1000);
    }
    bench.finish();
    assert_eq!(bench.core.trouble(), None);
    assert!(bench.core.is_idle());
}

#[test]
fn a_file_that_is_never_still_is_looked_at_ever_more_rarely() {
    let mut bench = Bench::new(rules());
    bench.write("a");
    let no = bench.claim();
    let own = bench.claimed.remove(&no);
    bench.core.taken(no, own, Taken::Unsettled { bytes: 1 }, bench.now);
    let mut waits = Vec::new();
    for round in 0..12 {
        let due = bench.core.due(bench.now).unwrap();
        waits.push(due.saturating_duration_since(bench.now).as_millis());
        bench.now = due;
        let Some(Command::Read(no, _)) = bench.next() else { panic!() };
        if round < 6 {
            bench.core.taken(no, None, Taken::Unsettled { bytes: 1 }, bench.now);
        } else {
            // It is read at last, and changed when it is to be put away.
            bench.read(no, round, vec![]);
            let (no, _) = bench.finishes();
            bench.core.finished(no, Finished::Changed, bench.now);
        }
    }
    let expected = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_000, 10_000];
    assert_eq!(waits, expected);
}

#[test]
fn the_same_bytes_read_otherwise_are_run() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("x", 5));
    let first = bench.admit();
    bench.write("again");
    let no = bench.claim();
    bench.read(no, 1, vec![Ok(intent("x", 5)), Ok(intent("x", 6))]);
    bench.rests();
    bench.told(first, Ending::Completed, None);
    assert!(!bench.finish().duplicate);
    assert_eq!([bench.admit(), bench.admit()], [(no, 0), (no, 1)]);
}

#[test]
fn a_file_that_was_changed_while_it_was_run_begins_again_as_the_newest() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let document = bench.admit();
    bench.told(document, Ending::Completed, None);
    let (no, _) = bench.finishes();
    bench.core.finished(no, Finished::Changed, bench.now);
    bench.rests();
    bench.pass(10);
    let Some(Command::Read(again, _)) = bench.next() else { panic!() };
    assert!(again > no);
    bench.read(again, 2, vec![Ok(intent("a", 2))]);
    let document = bench.admit();
    bench.told(document, Ending::Completed, None);
    assert!(!bench.finish().duplicate);
    assert!(bench.core.is_idle());
}

#[test]
fn closing_leaves_what_has_not_begun_and_finishes_what_has() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let begun = bench.admit();
    bench.take(2, intent("b", 2));
    bench.refuse(Reason::Paused, None);
    bench.write("c");
    bench.core.close();
    bench.rests();
    assert!(!bench.core.is_over());
    assert_eq!((bench.core.in_flight(), bench.core.counts.left), (1, 1));
    bench.told(begun, Ending::Completed, None);
    bench.finish();
    assert!(bench.core.is_over());
}

#[test]
fn a_closed_pipeline_gets_nothing_more_and_its_files_are_left() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let running = bench.admit();
    bench.take(2, intent("b", 2));
    bench.refuse(Reason::Closed, None);
    bench.write("c");
    bench.rests();
    assert_eq!(bench.core.counts.left, 1);
    bench.told(running, Ending::Returned, Some(intent("a", 1)));
    bench.rests();
    assert_eq!((bench.core.counts.left, bench.core.in_flight()), (2, 0));
    bench.core.close();
    assert!(bench.core.is_over());
}

#[test]
fn what_a_pipeline_gives_back_says_that_it_has_closed() {
    let mut bench = Bench::new(rules());
    bench.take(1, intent("a", 1));
    let running = bench.admit();
    bench.take(2, intent("b", 2));
    bench.refuse(Reason::Paused, Some(60_000));
    bench.told(running, Ending::Returned, Some(intent("a", 1)));
    // Nobody waits for a minute to hear it.
    bench.rests();
    assert_eq!((bench.core.counts.left, bench.core.in_flight()), (2, 0));
}
