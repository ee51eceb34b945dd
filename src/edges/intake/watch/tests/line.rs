//! Whose turn it is, beside a list that is looked through from its beginning.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::line::{DocumentNo, Line, Standing};
use super::*;
use crate::ground::cases::cases;
use crate::ground::time::{self, Instant};
use crate::{Reason, Scope};

#[derive(Clone, Debug)]
enum Op {
    Enter {
        file: u64,
        index: usize,
        tenant: u8,
        class: usize,
    },
    Leave {
        at: usize,
    },
    /// Of one that waits: its tenant, its class, or everybody is held for so long.
    Refuse {
        at: usize,
        how: u8,
        after: u64,
    },
    RoomCameFree,
    Pass {
        after: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u64..12, 0_usize..3, 0_u8..4, 0_usize..4)
            .prop_map(|(file, index, tenant, class)| Op::Enter { file, index, tenant, class }),
        2 => any::<usize>().prop_map(|at| Op::Leave { at }),
        3 => (any::<usize>(), 0_u8..4, 1_u64..200)
            .prop_map(|(at, how, after)| Op::Refuse { at, how, after }),
        1 => Just(Op::RoomCameFree),
        2 => (1_u64..100).prop_map(|after| Op::Pass { after }),
    ]
}

fn standing(tenant: u8, class: usize) -> Standing {
    let tenant = format!("t{tenant}");
    Standing {
        key: format!("{tenant}/x").into(),
        tenant: tenant.into(),
        class: Priority::ALL[class],
    }
}

#[derive(Default)]
struct Naive {
    waiting: BTreeMap<DocumentNo, Standing>,
    held: BTreeMap<Arc<str>, Instant>,
    /// By class: until when, and whether for a place.
    gates: [Option<(Instant, bool)>; 4],
}

impl Naive {
    fn next(&self, barrier: u64, now: Instant) -> Option<DocumentNo> {
        let waiting = self.waiting.iter().map(|(no, of)| (Reverse(of.class), *no));
        let sorted: BTreeSet<_> = waiting.collect();
        let is_open =
            |class: Priority| self.gates[class as usize].is_none_or(|(until, _)| until <= now);
        let is_held =
            |no: &DocumentNo| self.held.get(&self.waiting[no].tenant).is_some_and(|it| *it > now);
        let turn = sorted
            .into_iter()
            .find(|(Reverse(class), no)| no.0 < barrier && is_open(*class) && !is_held(no));
        turn.map(|(_, no)| no)
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let gates = self.gates.iter().flatten().map(|(until, _)| *until);
        let all = gates.chain(self.held.values().copied());
        all.filter(|until| *until > now && !self.waiting.is_empty()).min()
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn it_is_the_turn_of_whom_a_look_through_all_would_find(ops in prop::collection::vec(op(), 0..80)) {
        let (mut line, mut naive, mut now) = (Line::default(), Naive::default(), time::now());
        for op in ops {
            let one = |at: usize| naive.waiting.iter().nth(at % naive.waiting.len().max(1));
            match op {
                Op::Enter { file, index, tenant, class } => {
                    let (no, standing) = ((file, index), standing(tenant, class));
                    if let Entry::Vacant(place) = naive.waiting.entry(no) {
                        line.enter(no, place.insert(standing));
                    }
                }
                Op::Leave { at } => {
                    if let Some((no, standing)) = one(at).map(|(no, of)| (*no, of.clone())) {
                        line.leave(no, &standing);
                        naive.waiting.remove(&no);
                    }
                }
                Op::Refuse { at, how, after } => {
                    let Some(of) = one(at).map(|(_, of)| of.clone()) else { continue };
                    let until = time::later(now, ms(after)).unwrap();
                    let reason = match how {
                        0 | 1 => {
                            naive.held.insert(Arc::clone(&of.tenant), until);
                            Reason::RateLimited { scope: Scope::Key }
                        }
                        2 => {
                            naive.gates[..=of.class as usize].fill(Some((until, true)));
                            Reason::QueueFull
                        }
                        _ => {
                            naive.gates.fill(Some((until, false)));
                            Reason::CircuitOpen
                        }
                    };
                    line.refused(&of, reason, Some(ms(after)), now);
                }
                Op::RoomCameFree => {
                    line.room_came_free();
                    for gate in &mut naive.gates {
                        *gate = gate.filter(|(_, is_for_room)| !is_for_room);
                    }
                }
                Op::Pass { after } => now = time::later(now, ms(after)).unwrap(),
            }
            for barrier in [0, 3, 7, u64::MAX] {
                prop_assert_eq!(line.next(barrier, now), naive.next(barrier, now));
            }
            prop_assert_eq!(line.len(), naive.waiting.len());
            prop_assert_eq!(line.due(now), naive.due(now));
        }
    }
}
