//! The core beside a directory, a disk and a pipeline that do what chance says: whatever happens,
//! every content that was not overwritten ends once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::core::{Command, Core, Told};
use super::super::finish::Finished;
use super::super::folder::Shape;
use super::super::line::{DocumentNo, FileNo};
use super::super::take::Taken;
use super::super::waiting::{Change, Found};
use super::*;
use crate::ground::cases::cases;
use crate::ground::time::{self, Instant};
use crate::{Ending, Reason, Scope};

/// What a file holds: so many documents about one of a few objects.
type Content = u64;

struct World {
    core: Core<Content>,
    now: Instant,
    directory: BTreeMap<String, Content>,
    processing: BTreeMap<String, Content>,
    written: Content,
    overwritten: BTreeSet<Content>,
    ended: BTreeSet<Content>,
    jobs: Vec<Command<Content>>,
    running: Vec<(DocumentNo, Intent<Content>)>,
    /// By object, files in flight of which something was accepted.
    admitted: BTreeMap<String, BTreeSet<FileNo>>,
}

fn documents(content: Content) -> Vec<Result<Intent<Content>, Rejected>> {
    let intent = |n| {
        let key = format!("{}/{}", content % 2, (content + n) % 3);
        let priority = Priority::ALL[(content % 4) as usize];
        Ok(Intent::new(key, content).priority(priority))
    };
    (0..content % 3).map(intent).collect()
}

fn hash(content: Content) -> [u8; 32] {
    // Some contents are the same.
    [(content % 48 / 3) as u8; 32]
}

fn shape(content: Content) -> Shape {
    Shape::planted(content, 10, 1)
}

impl World {
    fn new() -> Self {
        Self {
            core: Core::new(rules()),
            now: time::now(),
            directory: BTreeMap::new(),
            processing: BTreeMap::new(),
            written: 0,
            overwritten: BTreeSet::new(),
            ended: BTreeSet::new(),
            jobs: Vec::new(),
            running: Vec::new(),
            admitted: BTreeMap::new(),
        }
    }

    fn step(&mut self, op: u8, how: u8) {
        match op % 8 {
            0 => self.write(how),
            1..=3 => self.begin(how),
            4 | 5 => self.end_job(how),
            6 => self.tell(how),
            _ => self.pass(u64::from(how)),
        }
        assert!(self.jobs.len() <= 2 && self.core.in_flight() <= 4 + 1, "{:?}", self.jobs);
    }

    fn write(&mut self, how: u8) {
        let file = format!("f{}", how % 5);
        self.written += 1;
        if let Some(old) = self.directory.insert(file.clone(), self.written) {
            self.overwritten.insert(old);
        }
        match how / 64 {
            0 => self.core.changed(name(&file), Change::Made, self.now),
            1 => self.core.lost(self.now),
            _ => self.core.changed(name(&file), Change::Finished, self.now),
        }
    }

    /// What the core wants now.
    fn begin(&mut self, how: u8) {
        let Some(command) = self.core.next(self.now) else { return };
        match command {
            Command::Submit(no, intent) => self.answer(no, intent, how),
            Command::Claim(no, own) => {
                let same = |job: &Command<_>| matches!(job, Command::Claim(_, it) if *it == own);
                assert!(!self.jobs.iter().any(same), "{own:?} is claimed twice at once");
                let own = own.to_str().unwrap().to_owned();
                self.core.claims(no, name(&format!("c{own}-{no}")));
                self.jobs.push(Command::Claim(no, name(&own)));
            }
            other => self.jobs.push(other),
        }
    }

    fn answer(&mut self, no: DocumentNo, intent: Intent<Content>, how: u8) {
        assert!(self.running.iter().all(|(other, _)| *other != no), "{no:?} runs already");
        let after = how.is_multiple_of(2).then(|| ms(u64::from(how)));
        let reason = match how / 16 {
            0 => Reason::QueueFull,
            1 => Reason::RateLimited { scope: Scope::Key },
            2 => Reason::CircuitOpen,
            3 => Reason::Stale,
            _ => {
                let of_key = self.admitted.entry(intent.key.to_string()).or_default();
                assert!(of_key.last().is_none_or(|last| *last <= no.0), "{no:?} is outdone");
                of_key.insert(no.0);
                self.core.admitted(no);
                return self.running.push((no, intent));
            }
        };
        self.core.refused(no, intent, (reason, after), self.now);
    }

    fn end_job(&mut self, how: u8) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.swap_remove(usize::from(how) % self.jobs.len());
        let bad = how / 32;
        match job {
            Command::Recover if bad == 0 => self.core.recovered(Err("no".to_owned()), self.now),
            Command::Recover => self.core.recovered(Ok((Vec::new(), 0)), self.now),
            Command::Scan(_) if bad == 0 => self.core.scanned(Err("no".to_owned()), self.now),
            Command::Scan(_) => {
                let found = self.directory.iter().map(|(file, of)| (name(file), shape(*of)));
                self.core.scanned(Ok((found.collect(), false)), self.now);
            }
            Command::Look(names) => {
                let look = |(file, round): (Arc<OsStr>, u64)| {
                    let content = self.directory.get(file.to_str().unwrap());
                    let found = content.map(|of| Found { shape: shape(*of), is_plain: false });
                    (file, round, found)
                };
                let found = names.into_iter().map(look).collect();
                self.core.looked(found, self.now);
            }
            Command::Claim(no, own) => {
                let file = own.to_str().unwrap();
                let taken = match (bad, self.directory.get(file).copied()) {
                    (_, None) => Taken::Gone,
                    (0, _) => {
                        let is_of_one = how.is_multiple_of(2);
                        Taken::Blocked { why: "no".to_owned(), is_of_one }
                    }
                    (bad, Some(content)) => {
                        self.directory.remove(file);
                        self.processing.insert(format!("c{file}-{no}"), content);
                        read(content, bad)
                    }
                };
                self.core.taken(no, Some(Arc::clone(&own)), taken, self.now);
            }
            Command::Read(no, claimed) => {
                let content = self.processing[claimed.to_str().unwrap()];
                self.core.taken(no, None, read(content, bad), self.now);
            }
            Command::Finish(no, claimed, _, status) => {
                let claimed = claimed.to_str().unwrap();
                let content = self.processing[claimed];
                let runs = self.running.iter().any(|(document, _)| document.0 == no);
                assert!(!runs, "{content} is put away, and still runs");
                let finished = match bad {
                    0 => {
                        let is_of_one = how.is_multiple_of(2);
                        Finished::Blocked { why: "no".to_owned(), is_of_one }
                    }
                    1 => {
                        self.written += 1;
                        self.overwritten.insert(content);
                        self.processing.insert(claimed.to_owned(), self.written);
                        Finished::Changed
                    }
                    _ => {
                        assert!(self.ended.insert(content), "{content} ends twice");
                        self.processing.remove(claimed);
                        let is_whole = status.reason.is_some()
                            || status.documents.len() == documents(content).len();
                        assert!(is_whole, "{status:?}");
                        Finished::Done
                    }
                };
                if !matches!(finished, Finished::Blocked { .. }) {
                    for files in self.admitted.values_mut() {
                        files.remove(&no);
                    }
                }
                self.core.finished(no, finished, self.now);
            }
            Command::Submit(..) => unreachable!("answered at once"),
        }
    }

    fn tell(&mut self, how: u8) {
        if self.running.is_empty() {
            return;
        }
        let (no, intent) = self.running.swap_remove(usize::from(how) % self.running.len());
        let (ending, intent) = match how / 32 {
            0 => (Ending::Evicted, Some(intent)),
            1 => (Ending::Evicted, None),
            2 => (Ending::Failed, None),
            3 => (Ending::Superseded, None),
            _ => (Ending::Completed, None),
        };
        let told = Told { ending, phase: None, error: None, intent, is_unkept: false };
        self.core.told(no, told, self.now);
    }

    fn pass(&mut self, after: u64) {
        self.now = time::later(self.now, ms(after)).unwrap();
    }

    /// From now on all goes well, until nothing is left to be done.
    fn calm(&mut self) {
        for _ in 0..10_000 {
            let before = self.jobs.len();
            self.begin(255);
            let began = self.jobs.len() > before;
            self.end_job(255);
            self.tell(255);
            if !began && self.jobs.is_empty() && self.running.is_empty() {
                if self.core.is_idle() {
                    return;
                }
                if let Some(due) = self.core.due(self.now) {
                    self.now = due;
                }
            }
        }
        panic!("it never comes to rest: {:?}", self.core);
    }
}

fn read(content: Content, bad: u8) -> Taken<Intent<Content>> {
    match bad {
        1 => Taken::Unsettled { bytes: 10 },
        2 => Taken::Unread { why: "no".to_owned() },
        3 => Taken::Refused { shape: shape(content), reason: "no".to_owned() },
        _ => Taken::Read {
            shape: shape(content),
            hash: hash(content),
            documents: documents(content),
        },
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn every_content_ends_once_whatever_happens(steps in prop::collection::vec(any::<(u8, u8)>(), 0..400)) {
        let mut world = World::new();
        for (op, how) in steps {
            world.step(op, how);
        }
        // What was only begun is closed at last.
        world.core.lost(world.now);
        world.calm();
        prop_assert!(world.directory.is_empty() && world.processing.is_empty());
        for content in 1..=world.written {
            let ends = world.ended.contains(&content);
            prop_assert!(ends != world.overwritten.contains(&content), "{content}: {ends}");
        }
    }
}
