//! One load that all who want its key wait for.

use std::borrow::Borrow;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::core::Age;
use super::entry::Entry;
use super::error::LoadError;
use super::table::{Flight, Loaded, Table};
use crate::ground::joint::{Joint, Turn, Waiter, Work};
use crate::ground::time::{self, Instant};

// How a waker is kept and woken is `ground/joint.rs`, and modelled there (`loom_tests.rs`: two that
// drive one future, one who leaves, a lead that is handed over). A flight adds no waking and no atomic
// of its own: boarding, landing (`settle`) and leaving are each one critical section of `flights`, so a
// second model would only try the mutex.

/// One who waits for a key. Dropping it leaves; the last one's leaving ends the load.
pub(super) struct Boarding<K: Hash + Eq, V> {
    pub(super) table: Arc<Table<K, V>>,
    key: K,
    id: u64,
    waiter: Waiter<Loaded<V>>,
}

pub(super) enum Boarded<K: Hash + Eq, V> {
    /// A load has ended meanwhile.
    Found(Arc<Entry<V>>),
    /// The first one.
    First(Boarding<K, V>),
    /// A load is under way.
    Joined(Boarding<K, V>),
}

impl<K: Hash + Eq + Clone, V> Table<K, V> {
    /// Waits for this key's load, which has not begun if this one is the first.
    pub(super) fn board<Q>(self: &Arc<Self>, key: &Q, now: Instant) -> Boarded<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (named, owned) = (key.to_owned(), key.to_owned());
        // Before the lock, so that it is dropped behind it.
        let there;
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.by_key.get(key) {
            let (id, waiter) = (flight.id, flight.joint.join());
            return Boarded::Joined(Boarding { table: Arc::clone(self), key: owned, id, waiter });
        }
        // Who leaves the flights has put its value in before.
        there = self.peek(key);
        if let Some(entry) = &there
            && entry.age(&self.rules, now) == Age::Fresh
        {
            return Boarded::Found(Arc::clone(entry));
        }
        flights.last += 1;
        let (id, joint) = (flights.last, Arc::new(Joint::new()));
        let waiter = joint.join();
        flights.by_key.insert(named, Flight { id, joint });
        Boarded::First(Boarding { table: Arc::clone(self), key: owned, id, waiter })
    }

    /// Keeps what a load gave, unless its key was put or removed since it began; whether it did.
    pub(super) fn settle(
        &self,
        key: &K,
        id: u64,
        result: Result<V, LoadError>,
        most: Option<Duration>,
        now: Instant,
    ) -> (Loaded<V>, bool) {
        let (entry, loaded) = match result {
            Ok(value) => {
                let entry = self.value(key, value, most, now);
                (Some(Arc::clone(&entry)), Ok(entry))
            }
            Err(error) => (self.error(&error, now), Err(error)),
        };
        let named = key.clone();
        let (flight, there, evicted);
        {
            let mut flights = self.flights.lock();
            if flights.by_key.get(key).is_none_or(|flight| flight.id != id) {
                // Somebody has put or removed it since: this one is older.
                return (loaded, false);
            }
            flight = flights.by_key.remove_entry(key);
            there = self.peek(key);
            let is_worth_more = |there: &Arc<Entry<V>>| {
                !there.is_error() && there.age(&self.rules, now) != Age::Gone
            };
            // An error never takes the place of a value that is still given out.
            let is_put = |entry: &Arc<Entry<V>>| {
                !entry.is_error() || !there.as_ref().is_some_and(is_worth_more)
            };
            evicted = entry
                .as_ref()
                .filter(|entry| is_put(entry))
                .map(|entry| self.insert(named, Arc::clone(entry)));
        }
        drop((flight, evicted));
        (loaded, true)
    }
}

impl<K, V> Table<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
{
    /// What the second tier has, kept as if it were loaded.
    async fn found(&self, key: &K, id: u64) -> Option<Arc<Entry<V>>> {
        let (value, ttl) = self.second.as_ref()?.get(key, &self.metrics).await?;
        self.settle(key, id, Ok(value), ttl, time::now()).0.ok()
    }
}

impl<K, V> Boarding<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub(super) async fn turn(&mut self) -> Turn<Loaded<V>> {
        poll_fn(|cx| self.waiter.poll(cx)).await
    }

    /// Whether what this one loaded would be kept. If not, its key was put or removed meanwhile, and
    /// there is a value, or another flight, that is newer.
    pub(super) fn is_current(&self) -> bool {
        let flights = self.table.flights.lock();
        flights.by_key.get(&self.key).is_some_and(|flight| flight.id == self.id)
    }

    /// The leader: lets all drive this load, and waits for it.
    pub(super) async fn lead<E, Fut>(&mut self, load: Fut) -> Loaded<V>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        self.waiter.share(self.work(load));
        poll_fn(|cx| match self.waiter.poll(cx) {
            Poll::Ready(Turn::Done(loaded)) => Poll::Ready(loaded),
            // It can't be: after a panic of what it brought it is told that.
            Poll::Ready(Turn::Lead) | Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn work<E, Fut>(&self, load: Fut) -> Work<Loaded<V>>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let (table, key, id) = (Arc::clone(&self.table), self.key.clone(), self.id);
        Box::pin(async move {
            if let Some(found) = table.found(&key, id).await {
                return Ok(found);
            }
            let loading = table.metrics.begin();
            let result = load.await.map_err(LoadError::new);
            let now = loading.end(result.is_ok());
            let (loaded, is_kept) = table.settle(&key, id, result, None, now);
            // What is older than a write of its key must not come after it there, either.
            if let (Some(second), Ok(entry), true) = (&table.second, &loaded, is_kept) {
                // Whoever comes now finds it; those who wait, wait for this as well. It is counted.
                if let Some(value) = entry.value() {
                    let _ = second.set(&key, value, &table.metrics).await;
                }
            }
            loaded
        })
    }

    /// The leader: this is what it has made by itself.
    pub(super) fn finish(&mut self, result: Result<V, LoadError>, now: Instant) -> Loaded<V> {
        let (loaded, _) = self.table.settle(&self.key, self.id, result, None, now);
        self.waiter.finish(loaded.clone());
        loaded
    }
}

impl<K: Hash + Eq, V> Drop for Boarding<K, V> {
    fn drop(&mut self) {
        // Under the lock that joiners take: nobody joins what is given up here.
        let (left, flight);
        {
            let mut flights = self.table.flights.lock();
            left = self.waiter.leave();
            let is_mine = |it: &Flight<V>| it.id == self.id && it.joint.is_deserted();
            let over = flights.by_key.get(&self.key).is_some_and(is_mine);
            flight = if over { flights.by_key.remove_entry(&self.key) } else { None };
        }
        drop((left, flight));
    }
}
