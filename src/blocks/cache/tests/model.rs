//! A life of one cache beside a naive one that keeps everything in a map and reckons in seconds.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ground::cases::cases;

const TTL: u64 = 10;
const STALE: u64 = 5;
const IDLE: u64 = 8;
const NEGATIVE: u64 = 3;
const PAUSE: u64 = 2;

#[derive(Clone, Copy, Debug)]
enum Op {
    Set(u32, u32),
    Get(u32),
    Load(u32, Option<u32>),
    Lead(u32, Option<u32>),
    Remove(u32),
    Pass(u64),
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    content: Option<u32>,
    until: u64,
    gone: u64,
    looked: u64,
    pause: u64,
}

#[derive(Default)]
struct Naive {
    now: u64,
    idles: bool,
    kept: HashMap<u32, Kept>,
    hits: u64,
    stale: u64,
    negative: u64,
    misses: u64,
}

/// What a look-up has found.
enum Found {
    Fresh(Option<u32>),
    Stale(u32),
    Nothing,
}

impl Naive {
    fn look(&mut self, key: u32) -> Found {
        let (now, idles) = (self.now, self.idles);
        let alive = |kept: &Kept| now < kept.gone && !(idles && now >= kept.looked + IDLE);
        match self.kept.get_mut(&key) {
            Some(kept) if alive(kept) => {
                kept.looked = now;
                if now < kept.until {
                    Found::Fresh(kept.content)
                } else {
                    Found::Stale(kept.content.unwrap())
                }
            }
            _ => {
                self.kept.remove(&key);
                Found::Nothing
            }
        }
    }

    fn put(&mut self, key: u32, content: Option<u32>) {
        let until = self.now + if content.is_some() { TTL } else { NEGATIVE };
        let gone = if content.is_some() { until + STALE } else { until };
        let kept = Kept { content, until, gone, looked: self.now, pause: 0 };
        let now = self.now;
        let worth_more = |there: &Kept| {
            there.content.is_some()
                && now < there.gone
                && !(self.idles && now >= there.looked + IDLE)
        };
        if content.is_some() || !self.kept.get(&key).is_some_and(worth_more) {
            self.kept.insert(key, kept);
        }
    }

    fn fresh(&mut self, content: Option<u32>) -> Option<u32> {
        match content {
            Some(_) => self.hits += 1,
            None => self.negative += 1,
        }
        content
    }

    fn get(&mut self, key: u32) -> Option<u32> {
        match self.look(key) {
            Found::Fresh(content) => self.fresh(content),
            Found::Stale(value) => {
                self.stale += 1;
                Some(value)
            }
            Found::Nothing => {
                self.misses += 1;
                None
            }
        }
    }

    fn load(&mut self, key: u32, loads: Option<u32>, leads: bool) -> Option<u32> {
        match self.look(key) {
            Found::Fresh(content) => self.fresh(content),
            Found::Stale(value) if !leads => {
                self.stale += 1;
                let now = self.now;
                let kept = self.kept.get_mut(&key).unwrap();
                if kept.pause <= now {
                    kept.pause = now + PAUSE;
                    self.put(key, loads);
                }
                Some(value)
            }
            // The pause is everybody's.
            Found::Stale(value) if self.kept[&key].pause > self.now => {
                self.stale += 1;
                Some(value)
            }
            Found::Stale(_) | Found::Nothing => {
                let next = self.now + PAUSE;
                self.kept.entry(key).and_modify(|kept| kept.pause = next);
                self.misses += 1;
                self.put(key, loads);
                loads
            }
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let loads = || prop_oneof![3 => any::<u32>().prop_map(Some), 1 => Just(None)];
    prop_oneof![
        1 => (0..3_u32, any::<u32>()).prop_map(|(key, value)| Op::Set(key, value)),
        3 => (0..3_u32).prop_map(Op::Get),
        4 => (0..3_u32, loads()).prop_map(|(key, loads)| Op::Load(key, loads)),
        2 => (0..3_u32, loads()).prop_map(|(key, loads)| Op::Lead(key, loads)),
        1 => (0..3_u32).prop_map(Op::Remove),
        5 => (1..7_u64).prop_map(Op::Pass),
    ]
}

async fn life(ops: Vec<Op>, idles: bool) {
    let second = Duration::from_secs;
    let config = CacheConfig::default()
        .with_ttl(Some(second(TTL)))
        .with_jitter_ratio(0.0)
        .with_stale_for(second(STALE))
        .with_idle(idles.then_some(second(IDLE)))
        .with_revalidate_pause(second(PAUSE));
    let cache: Cache<u32, u32> =
        Cache::builder(config).negative(move |_| Some(second(NEGATIVE))).build().unwrap();
    let mut naive = Naive { idles, ..Naive::default() };
    for (at, op) in ops.into_iter().enumerate() {
        match op {
            Op::Set(key, value) => {
                cache.set(key, value);
                naive.kept.remove(&key);
                naive.put(key, Some(value));
            }
            Op::Get(key) => assert_eq!(cache.get(&key), naive.get(key), "{at}: {op:?}"),
            Op::Load(key, loads) => {
                let load = move || async move { loads.ok_or(NoSuchThing) };
                let got = cache.get_or_load(&key, load).await.ok();
                tokio::task::yield_now().await;
                assert_eq!(got, naive.load(key, loads, false), "{at}: {op:?}");
            }
            Op::Lead(key, loads) => {
                let got = match cache.get_or_lead(&key).await {
                    Lookup::Known(known) => known.ok(),
                    Lookup::Lead(lead) => {
                        match loads {
                            Some(value) => lead.finish(value),
                            None => drop(lead.fail(NoSuchThing)),
                        }
                        loads
                    }
                };
                assert_eq!(got, naive.load(key, loads, true), "{at}: {op:?}");
            }
            Op::Remove(key) => {
                cache.remove(&key);
                naive.kept.remove(&key);
            }
            Op::Pass(seconds) => {
                tokio::time::advance(second(seconds)).await;
                naive.now += seconds;
            }
        }
    }
    let seen = cache.snapshot();
    let ours = (seen.hits, seen.stale_hits, seen.negative_hits, seen.misses);
    assert_eq!(ours, (naive.hits, naive.stale, naive.negative, naive.misses));
    assert_eq!(cache.shutdown(Duration::ZERO).await, 0);
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_cache_is_a_map_with_times(ops in prop::collection::vec(op(), 1..60), idles: bool) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(life(ops, idles));
    }
}
