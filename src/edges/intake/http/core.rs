//! Which tickets can be read, and which idempotency keys are known. Pure: time is an argument.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::ground::primitives::Hashing;
use crate::ground::time::Instant;

/// Names a ticket; what is guessed finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(pub(super) u128);

impl Id {
    /// As it is written: 32 hexadecimal digits, in lower case, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_id = text.len() == 32 && text.bytes().all(is_digit);
        is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How many tickets, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableLimits {
    pub(super) live: usize,
    pub(super) ended: usize,
    pub(super) ended_for: Duration,
}

/// The tickets that can be read: those that have not ended, and the last ones that have, until they
/// are too many or too old. `T` says for itself what became of it.
#[derive(Debug)]
pub(super) struct Table<T> {
    limits: TableLimits,
    tickets: HashMap<Id, Entry<T>, Hashing>,
    /// In the order of their ends.
    ended: VecDeque<(Instant, Id)>,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: T,
    ended: Option<Instant>,
}

/// Forgotten at most for one that comes: more than one, so that what is too old gets fewer.
const SWEPT: usize = 4;

impl<T: Clone> Table<T> {
    pub(super) fn new(limits: TableLimits) -> Self {
        Self { limits, tickets: HashMap::default(), ended: VecDeque::new() }
    }

    /// Whether one more may live.
    pub(super) fn has_room(&self) -> bool {
        self.live() < self.limits.live
    }

    pub(super) fn file(&mut self, id: Id, ticket: T) {
        self.tickets.insert(id, Entry { ticket, ended: None });
    }

    /// It has ended. What is forgotten for it, to be dropped after the unlock.
    #[must_use]
    pub(super) fn ends(&mut self, id: Id, now: Instant) -> Vec<T> {
        if let Some(entry) = self.tickets.get_mut(&id)
            && entry.ended.is_none()
        {
            // A clock that went back on another core: the order stays that of the ends.
            let last = self.ended.back().map_or(now, |(at, _)| now.max(*at));
            entry.ended = Some(last);
            self.ended.push_back((last, id));
        }
        let mut forgotten = Vec::new();
        while forgotten.len() < SWEPT
            && self.ended.front().is_some_and(|(at, _)| {
                self.ended.len() > self.limits.ended || self.is_over(*at, now)
            })
            && let Some((_, id)) = self.ended.pop_front()
        {
            forgotten.extend(self.tickets.remove(&id).map(|entry| entry.ticket));
        }
        forgotten
    }

    /// The ticket of this name, if it can still be read.
    pub(super) fn look(&self, id: Id, now: Instant) -> Option<T> {
        let entry = self.tickets.get(&id)?;
        let is_over = entry.ended.is_some_and(|at| self.is_over(at, now));
        (!is_over).then(|| entry.ticket.clone())
    }

    /// How many have not ended.
    pub(super) fn live(&self) -> usize {
        self.tickets.len() - self.ended.len()
    }

    /// How many have, and are kept.
    pub(super) fn ended(&self) -> usize {
        self.ended.len()
    }

    fn is_over(&self, ended: Instant, now: Instant) -> bool {
        now.saturating_duration_since(ended) >= self.limits.ended_for
    }
}

/// How many idempotency keys, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyLimits {
    pub(super) most: usize,
    pub(super) keep_for: Duration,
}

/// A client's key, among those of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyName {
    pub(super) tenant: Arc<str>,
    pub(super) key: Arc<str>,
}

impl KeyName {
    /// The most that a key may have.
    pub(super) const LONGEST: usize = 255;

    /// Whether this is one: 1 to 255 visible ASCII characters.
    pub(super) fn is_key(text: &[u8]) -> bool {
        (1..=Self::LONGEST).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
    }
}

/// What was answered to each idempotency key: the oldest are forgotten first. `V` is what to answer
/// again.
#[derive(Debug)]
pub(super) struct Keys<V> {
    limits: KeyLimits,
    known: HashMap<KeyName, Known<V>, Hashing>,
    /// In the order of their answers; one whose number is another's was forgotten, or came again.
    order: VecDeque<(Instant, u64, KeyName)>,
    weight: usize,
    next: u64,
}

#[derive(Debug)]
struct Known<V> {
    number: u64,
    /// A hash of what was sent with it.
    body: u128,
    /// `None`: it is being worked on.
    answer: Option<Answer<V>>,
}

#[derive(Debug)]
struct Answer<V> {
    at: Instant,
    weight: usize,
    value: V,
}

/// What a key means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Begun<V> {
    /// It is new: to be [kept](Keys::keep) or [released](Keys::release) under this number.
    New(u64),
    /// It was answered so.
    Again(V),
    /// It came with another body.
    OtherBody,
    /// Somebody works on it.
    InUse,
    /// Too many are being worked on.
    Full,
}

impl<V: Clone> Keys<V> {
    pub(super) fn new(limits: KeyLimits) -> Self {
        let (known, order) = (HashMap::default(), VecDeque::new());
        Self { limits, known, order, weight: 0, next: 0 }
    }

    pub(super) fn begin(&mut self, name: &KeyName, body: u128, now: Instant) -> Begun<V> {
        if let Some(known) = self.known.get(name) {
            match &known.answer {
                Some(answer) if self.is_over(answer.at, now) => {}
                _ if known.body != body => return Begun::OtherBody,
                Some(answer) => return Begun::Again(answer.value.clone()),
                None => return Begun::InUse,
            }
            self.forget(name);
        }
        if self.known.len() - self.order_len() >= self.limits.most {
            return Begun::Full;
        }
        self.next += 1;
        let number = self.next;
        self.known.insert(name.clone(), Known { number, body, answer: None });
        Begun::New(number)
    }

    /// What was answered may turn out to be worth nothing: then it is as if it had never come.
    pub(super) fn forget_if(&mut self, name: &KeyName, is_void: impl FnOnce(&V) -> bool) {
        let answer = self.known.get(name).and_then(|known| known.answer.as_ref());
        if answer.is_some_and(|answer| is_void(&answer.value)) {
            self.forget(name);
        }
    }

    /// Its answer, and how much that weighs. What is forgotten for it, to be dropped after the
    /// unlock.
    #[must_use]
    pub(super) fn keep(
        &mut self,
        name: &KeyName,
        number: u64,
        value: V,
        weight: usize,
        now: Instant,
    ) -> Vec<V> {
        let Some(known) = self.known.get_mut(name).filter(|known| known.number == number) else {
            return vec![value];
        };
        let at = self.order.back().map_or(now, |(at, ..)| now.max(*at));
        let weight = weight.max(1);
        known.answer = Some(Answer { at, weight, value });
        self.weight += weight;
        self.order.push_back((at, number, name.clone()));
        let mut forgotten = Vec::new();
        while let Some((at, number, _)) = self.order.front() {
            let is_this = self.order.len() == 1;
            let is_over = self.is_over(*at, now);
            let is_due = is_over && forgotten.len() < SWEPT || self.weight > self.limits.most;
            if !is_due || is_this {
                break;
            }
            let number = *number;
            let Some((_, _, name)) = self.order.pop_front() else { break };
            if self.known.get(&name).is_some_and(|known| known.number == number) {
                forgotten.extend(self.forgotten(&name));
            }
        }
        forgotten
    }

    /// Nothing came of it: it may come again.
    pub(super) fn release(&mut self, name: &KeyName, number: u64) {
        let is_its = |known: &Known<V>| known.number == number && known.answer.is_none();
        if self.known.get(name).is_some_and(is_its) {
            self.known.remove(name);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// How many are answered.
    fn order_len(&self) -> usize {
        self.order.len()
    }

    /// A known one goes before its time, with its place in the order.
    fn forget(&mut self, name: &KeyName) {
        if let Some(known) = self.known.get(name) {
            let number = known.number;
            // Too old, so near the front.
            if let Some(at) = self.order.iter().position(|(_, of, _)| *of == number) {
                self.order.remove(at);
            }
        }
        drop(self.forgotten(name));
    }

    fn forgotten(&mut self, name: &KeyName) -> Option<V> {
        let answer = self.known.remove(name)?.answer?;
        self.weight -= answer.weight;
        Some(answer.value)
    }

    fn is_over(&self, answered: Instant, now: Instant) -> bool {
        now.saturating_duration_since(answered) >= self.limits.keep_for
    }
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Submit,
    Ticket(Id),
    Events(Id),
    Healthz,
    Readyz,
}

impl Route {
    /// Nothing is decoded, and nothing but these exact paths is one.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/intent" => return Some(Self::Submit),
            "/healthz" => return Some(Self::Healthz),
            "/readyz" => return Some(Self::Readyz),
            _ => {}
        }
        let below = path.strip_prefix("/intent/")?;
        match below.strip_suffix("/events") {
            Some(id) => Id::parse(id).map(Self::Events),
            None => Id::parse(below).map(Self::Ticket),
        }
    }

    /// Whoever watches over the process asks it: never refused for anybody's asking too often.
    pub(super) fn is_probe(self) -> bool {
        matches!(self, Self::Healthz | Self::Readyz)
    }

    pub(super) const NAMES: [&'static str; 6] =
        ["/intent", "/intent/{id}", "/intent/{id}/events", "/healthz", "/readyz", "other"];

    /// Its place among the names.
    pub(super) fn index(route: Option<Self>) -> usize {
        match route {
            Some(Self::Submit) => 0,
            Some(Self::Ticket(_)) => 1,
            Some(Self::Events(_)) => 2,
            Some(Self::Healthz) => 3,
            Some(Self::Readyz) => 4,
            None => 5,
        }
    }
}

/// The token of an `Authorization: Bearer …`; `None` for anything else.
pub(super) fn bearer_token(field: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(field).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let is_bearer = scheme.eq_ignore_ascii_case("bearer")
        && (1..=4_096).contains(&token.len())
        && token.bytes().all(is_token);
    is_bearer.then_some(token)
}

/// The media type of a `Content-Type`, without parameters, in lower case.
pub(super) fn media_type(field: &[u8]) -> Option<String> {
    const LONGEST: usize = 128;
    let text = std::str::from_utf8(field).ok()?;
    let (kind, _) = text.split_once(';').unwrap_or((text, ""));
    let kind = kind.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+/*".contains(&b);
    let is_type = (3..=LONGEST).contains(&kind.len())
        && kind.bytes().all(plain)
        && kind.split('/').count() == 2
        && kind.split('/').all(|part| !part.is_empty());
    is_type.then(|| kind.to_ascii_lowercase())
}

/// A hash that nobody outside can foresee: std's SipHash under two keys of this process.
pub(super) fn pair<Q: Hash + ?Sized>(keys: &[std::hash::RandomState; 2], of: &Q) -> u128 {
    use std::hash::BuildHasher;
    let [high, low] = keys.each_ref().map(|key| u128::from(key.hash_one(of)));
    high << 64 | low
}
