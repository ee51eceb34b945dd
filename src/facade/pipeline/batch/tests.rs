//! The line, beside a naive one; halving; and whoever leaves.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::core::{Core, Place};
use super::send::members;
use super::*;
use crate::Priority;
use crate::ground::cases::cases;
use crate::ground::time::Instant;
use crate::pipeline::{Phase, PhaseContext, PhaseError};

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(Priority, usize),
    Leave(usize),
    Pass(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop_oneof![
        3 => Just(Priority::Low), 3 => Just(Priority::Normal),
        2 => Just(Priority::High), 1 => Just(Priority::Urgent),
    ];
    prop_oneof![
        6 => (class, 0..60_usize).prop_map(|(class, bytes)| Op::Push(class, bytes)),
        2 => any::<usize>().prop_map(Op::Leave),
        2 => (0..8_u32).prop_map(Op::Pass),
    ]
}

/// Class, number, bytes, since: what is first in this order goes first.
type Known = (std::cmp::Reverse<Priority>, u64, usize, Instant);

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn batches_are_those_of_a_naive_line(ops in prop::collection::vec(op(), 1..80)) {
        let config = BatchConfig::default()
            .with_max_items(5).with_max_bytes(100).with_max_age(5 * MS).with_max_waiting(8);
        let mut now = Instant::now();
        let (mut core, mut naive) = (Core::new(config), BTreeSet::<Known>::new());
        let mut places: Vec<Place> = Vec::new();
        for op in ops {
            match op {
                Op::Push(class, bytes) => match core.push(bytes, class, bytes, now) {
                    Ok(place) => {
                        naive.insert((std::cmp::Reverse(class), place.id, bytes, now));
                        places.push(place);
                    }
                    Err(back) => {
                        prop_assert_eq!(back, bytes);
                        prop_assert_eq!(naive.len(), 8);
                    }
                },
                Op::Leave(nth) if !places.is_empty() => {
                    let place = places.swap_remove(nth % places.len());
                    let there = naive.iter().find(|it| it.1 == place.id).copied();
                    prop_assert_eq!(core.remove(place), there.map(|it| it.2));
                    there.map(|it| naive.remove(&it));
                }
                Op::Leave(_) => {}
                Op::Pass(ms) => now += ms * MS,
            }
            loop {
                let due = naive.len() >= 5
                    || naive.iter().map(|it| it.2).sum::<usize>() >= 100
                    || naive.iter().any(|it| it.0.0 == Priority::Urgent || it.3 + 5 * MS <= now);
                let mut expected: Vec<u64> = Vec::new();
                let mut bytes = 0;
                for it in naive.iter().filter(|_| due).take(5) {
                    bytes += it.2;
                    if bytes > 100 && !expected.is_empty() {
                        break;
                    }
                    expected.push(it.1);
                }
                let took = core.take(now);
                let took: Vec<u64> = took.into_iter().flatten().map(|item| item.id).collect();
                prop_assert_eq!(&took, &expected);
                if took.is_empty() {
                    break;
                }
                naive.retain(|it| !took.contains(&it.1));
            }
            prop_assert_eq!(core.waiting(), naive.len());
        }
    }
}

/// What an input is to do, and how often each was run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    Fine,
    Bad,
    Panics,
    FailsAll,
    Down,
}

#[derive(Default)]
struct Runs(Mutex<Vec<usize>>);

impl BatchPhase<Input> for Runs {
    type Out = usize;

    async fn run(&self, inputs: &[Input]) -> Result<Vec<Result<usize, PhaseError>>, PhaseError> {
        self.0.lock().unwrap().push(inputs.len());
        assert!(!inputs.contains(&Input::Panics), "asked to");
        if inputs.contains(&Input::FailsAll) {
            return Err(PhaseError::permanent("one of them is wrong"));
        }
        if inputs.contains(&Input::Down) {
            return Err(PhaseError::retryable("down"));
        }
        let one = |input: &Input| match input {
            Input::Bad => Err(PhaseError::permanent("bad")),
            _ => Ok(inputs.len()),
        };
        Ok(inputs.iter().map(one).collect())
    }
}

/// What becomes of each, by a letter: ok, retryable, permanent, panicked.
fn fates(inputs: &[Input]) -> (String, Vec<usize>) {
    let runs = Arc::new(Runs::default());
    let all: Vec<_> = members(&runs, inputs.to_vec()).collect();
    let fate = |member: super::send::Member<Input, Runs>| {
        let polled = || match pin!(member.result()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(_)) => 'o',
            Poll::Ready(Err(error)) if error.is_retryable() => 'r',
            Poll::Ready(Err(_)) => 'p',
            Poll::Pending => 'w',
        };
        catch_unwind(AssertUnwindSafe(polled)).unwrap_or('!')
    };
    let told = all.into_iter().map(fate).collect();
    let runs = runs.0.lock().unwrap().clone();
    (told, runs)
}

#[test]
fn one_that_is_to_blame_fails_alone() {
    use Input::{Bad, Down, FailsAll, Fine, Panics};
    let table: [(&[Input], &str, &[usize]); 7] = [
        (&[Fine, Fine, Fine], "ooo", &[3]),
        (&[Fine, Bad, Fine], "opo", &[3]),
        (&[Fine, Fine, Panics, Fine], "oo!o", &[4, 2, 2, 1, 1]),
        (&[FailsAll, Fine, Fine, Fine], "pooo", &[4, 2, 1, 1, 2]),
        (&[Down, Fine, Fine], "rrr", &[3]),
        (&[Panics], "!", &[1]),
        (&[Panics, FailsAll], "!p", &[2, 1, 1]),
    ];
    for (inputs, told, runs) in table {
        assert_eq!(fates(inputs), (told.to_owned(), runs.to_vec()), "{inputs:?}");
    }
}

/// Gives too few results.
struct Short;

impl BatchPhase<u32> for Short {
    type Out = u32;

    async fn run(&self, inputs: &[u32]) -> Result<Vec<Result<u32, PhaseError>>, PhaseError> {
        tokio::task::yield_now().await;
        Ok(inputs.iter().take(1).map(|input| Ok(*input)).collect())
    }
}

#[test]
fn without_a_result_an_input_fails_and_a_batch_survives_whoever_sent_it() {
    type Waits = Pin<Box<dyn Future<Output = Result<u32, PhaseError>>>>;
    let all = members(&Arc::new(Short), vec![1, 2]);
    let mut all: Vec<Waits> = all.map(|it| Box::pin(it.result()) as Waits).collect();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(all[0].as_mut().poll(&mut cx).is_pending());
    drop(all.remove(0));
    // The one who sent it has left; yielding has woken whoever waits.
    let mut polled = all[0].as_mut().poll(&mut cx);
    if polled.is_pending() {
        polled = all[0].as_mut().poll(&mut cx);
    }
    let Poll::Ready(Err(error)) = polled else { panic!("it goes on") };
    assert!(!error.is_retryable());
}

/// Whoever leaves between the batch's making and its sending is not sent.
#[test]
fn who_leaves_a_batch_before_it_is_sent_does_not_go_with_it() {
    let seen = Arc::new(Seen::default());
    let mut all: Vec<_> = members(&seen, vec![1, 2, 3]).collect();
    drop(all.remove(1));
    let mut cx = Context::from_waker(Waker::noop());
    for (member, result) in all.into_iter().zip([1, 3]) {
        let Poll::Ready(Ok(told)) = pin!(member.result()).poll(&mut cx) else { panic!("ready") };
        assert_eq!(told, result, "each has its own");
    }
    assert_eq!(*seen.0.lock().unwrap(), [[1, 3]]);
    // With the last one goes the batch.
    drop(members(&seen, vec![4, 5]));
    assert_eq!(seen.0.lock().unwrap().len(), 1);
}

/// An output that panics when it is dropped, after its owner has left.
#[test]
fn what_one_left_in_a_batch_is_nobody_elses_when_it_is_dropped() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "a bomb");
        }
    }
    struct Bombs;
    impl BatchPhase<bool> for Bombs {
        type Out = Bomb;

        async fn run(&self, inputs: &[bool]) -> Result<Vec<Result<Bomb, PhaseError>>, PhaseError> {
            Ok(inputs.iter().map(|is_bomb| Ok(Bomb(*is_bomb))).collect())
        }
    }
    let mut all: Vec<_> = members(&Arc::new(Bombs), vec![true, true, false]).collect();
    let last = all.pop().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut result = Box::pin(last.result());
    // It drives the batch; the others leave behind what they never took.
    let Poll::Ready(Ok(own)) = result.as_mut().poll(&mut cx) else { panic!("it has its own") };
    assert!(!own.0);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(all))).is_ok());
    let mut all: Vec<_> = members(&Arc::new(Bombs), vec![true, false]).collect();
    let last = all.pop().unwrap();
    let mut result = Box::pin(async move {
        let own = last.result().await;
        drop(all);
        own
    });
    assert!(matches!(result.as_mut().poll(&mut cx), Poll::Ready(Ok(Bomb(false)))));
}

/// Writes down what came together.
#[derive(Default)]
struct Seen(Mutex<Vec<Vec<u32>>>);

impl BatchPhase<u32> for Seen {
    type Out = u32;

    async fn run(&self, inputs: &[u32]) -> Result<Vec<Result<u32, PhaseError>>, PhaseError> {
        self.0.lock().unwrap().push(inputs.to_vec());
        Ok(inputs.iter().map(|input| Ok(*input)).collect())
    }
}

/// The line is full only while others, on other threads, are about to send what stands in it.
#[test]
fn who_finds_the_line_full_is_refused_on_this_side() {
    let config = BatchConfig::default().with_max_items(2).with_max_waiting(2);
    let batched = Batched::new(config, Seen::default()).unwrap();
    batched.fill(&[1, 2]);
    let cx = PhaseContext::for_tests();
    let mut polled = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = pin!(batched.run(&3, &cx)).poll(&mut polled) else {
        panic!("there is no place")
    };
    assert!(
        error.is_retryable() && error.verdict.is_refused(),
        "it costs neither attempt nor budget"
    );
    assert!(batched.phase_for_tests().0.lock().unwrap().is_empty());
}

#[test]
fn what_can_not_be_is_refused_by_name() {
    let config = BatchConfig::default;
    for (config, named) in [
        (config().with_max_items(0), "pipeline.batch.max_items"),
        (config().with_max_waiting(0), "pipeline.batch.max_waiting"),
        (config().with_max_bytes(0), "pipeline.batch.max_bytes"),
        (config().with_max_items(3).with_max_waiting(2), "pipeline.batch.max_waiting"),
    ] {
        let error = Batched::new(config, Short).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(named), "{error}");
    }
}
