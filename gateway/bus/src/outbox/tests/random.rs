use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use gateway_model::{Identifiers, Qos, Settlement};

use super::pair::{Draft, Pair};
use crate::outbox::Reach;
use crate::{DropPolicy, QueueLimits};

const SEEDS: u64 = 1000;
const STEPS: usize = 40;

/// Random numbers that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

/// What a queue with a tail does is what the same queue does in memory, and the log hears of every
/// copy once. Long lists of identifiers and large messages make pages and heads of a few copies.
#[test]
fn a_tail_changes_nothing() {
    let seeds = match std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("failed with TIDEGATE_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let limits = QueueLimits {
        messages_max: 5 + dice.below(100) as u32,
        bytes_max: 100_000 + dice.below(4_000_000) as u32,
        drop: if dice.one_in(3) { DropPolicy::Newest } else { DropPolicy::Oldest },
        store_qos0: dice.one_in(3),
        upgrade_qos: false,
    };
    let mut pair = Pair::new(1 + dice.below(20) as u16, limits);
    let priorities = if dice.one_in(2) { 1 } else { 1 + dice.below(4) };
    let many: Identifiers = (0..150).map(|number| u32::MAX - number).collect::<Vec<_>>().into();
    let mut ticket = 0;
    let mut is_away = false;
    for _ in 0..STEPS {
        match dice.below(10) {
            0..4 => {
                for _ in 0..1 + dice.below(30) {
                    ticket += 1;
                    let draft = draft(&mut dice, priorities, ticket, &many);
                    if is_away && draft.qos == Qos::AtMostOnce && !limits.store_qos0 {
                        continue;
                    }
                    pair.push(&draft);
                }
            }
            4 | 5 if !is_away => drop(pair.drain(1 + dice.below(40))),
            6 => settle(&mut dice, &mut pair, is_away),
            7 if is_away => {
                pair.come_back(1 + dice.below(20) as u16);
                is_away = false;
            }
            7 => {
                pair.lose_connection(limits.store_qos0);
                is_away = true;
            }
            8 => {
                let reach = if is_away && dice.one_in(2) { Reach::Sent } else { Reach::Queued };
                let (group, room, keep) = (1 + dice.below(2) as u32, dice.below(40), 1 + dice.below(3));
                pair.take(group, reach, room, |at| at % 4 < keep);
            }
            _ => {
                let ordinals: Vec<_> = pair.listed.keys().copied().collect();
                for _ in 0..dice.below(20).min(ordinals.len()) {
                    pair.shift(ordinals[dice.below(ordinals.len())]);
                }
                pair.shelf.is_full.store(dice.one_in(5), Ordering::Relaxed);
            }
        }
        pair.check();
    }
    pair.check_listed();
    if dice.one_in(2) {
        if is_away {
            pair.come_back(20);
        }
        while !pair.drain(100).is_empty() || !pair.in_flight.is_empty() {
            while !pair.in_flight.is_empty() {
                pair.settle(0, Settlement::Delivered);
            }
        }
    }
    pair.clear();
}

fn draft(dice: &mut Dice, priorities: usize, ticket: u32, many: &Identifiers) -> Draft {
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    let published = qos[dice.below(8).min(2)];
    let qos = qos[dice.below(8).min(2)].min(published);
    Draft {
        published,
        qos,
        priority: dice.below(priorities) as u8,
        group: dice.one_in(3).then(|| (1 + dice.below(2) as u32, ticket)),
        is_replayed: dice.one_in(12),
        is_offered: !dice.one_in(10) && qos > Qos::AtMostOnce,
        bytes: [0, 100, 30_000, 60_000][dice.below(4)],
        identifiers: match dice.below(3) {
            0 => Identifiers::None,
            1 => Identifiers::One(7),
            _ => many.clone(),
        },
    }
}

fn settle(dice: &mut Dice, pair: &mut Pair, is_away: bool) {
    if is_away {
        return;
    }
    for _ in 0..dice.below(20).min(pair.in_flight.len()) {
        let at = dice.below(pair.in_flight.len().max(1));
        let settlement = match dice.below(8) {
            0 => Settlement::Returned,
            1 => Settlement::Received,
            2 => Settlement::Dropped("other"),
            3 => Settlement::Completed,
            _ => Settlement::Delivered,
        };
        if at < pair.in_flight.len() {
            pair.settle(at, settlement);
        }
    }
}
