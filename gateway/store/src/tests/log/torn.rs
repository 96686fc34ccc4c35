use std::sync::Arc;
use std::time::Duration;

use super::rig::{Rig, SMALL};
use crate::disk::{Mode, Options};
use crate::tests::dice::{Dice, with_seeds};
use crate::{Fault, Room, Simulated};

const INTERVAL: Options = Options { mode: Mode::Interval(Duration::from_secs(3600)), ..SMALL };

#[test]
fn what_was_committed_is_there_again() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    let mut dice = Dice(1);
    for _ in 0..200 {
        rig.append_any(&mut dice);
        assert!(dice.one_in(2) || rig.commit());
    }
    assert!(rig.commit());
    assert_eq!(rig.durable(), 200);
    rig.check_reading();
    disk.restart();
    let again = Rig::open(&disk, SMALL);
    assert!(again.records == rig.records);
    assert_eq!((again.damaged, again.torn), (vec![], None));
}

/// How a life of a log ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    PowerCut,
    Kill,
}

/// Opens a disk after the end of a life; the power may fail while it does.
fn open_again(disk: &Simulated, options: Options, dice: &mut Dice) -> Rig {
    loop {
        if dice.one_in(2) {
            disk.cut_power_at(disk.operations() + dice.below(8) as u64);
        }
        let rig = Rig::try_open(Arc::new(disk.clone()), options);
        if disk.is_off() {
            disk.restart();
            continue;
        }
        disk.judge(|_, _| None);
        return rig.expect("the disk works");
    }
}

/// What is there is the beginning of what was appended, and all that was promised.
fn check(rig: &Rig, again: &Rig, promised: usize) {
    assert_eq!(again.damaged, vec![]);
    let found = again.records.len();
    assert!(again.records == rig.records[..found], "what is there is not the beginning of what was");
    assert!(found >= promised, "{promised} records were promised, {found} are there");
}

fn promised(rig: &Rig, end: End) -> usize {
    match end {
        End::PowerCut => rig.synced(),
        End::Kill => rig.durable(),
    }
}

/// Appends and commits until one of these ends, again and again; `trouble` times in a hundred an
/// operation fails.
fn lives(seed: u64, options: Options, ends: &[End], trouble: usize) {
    let disk = Simulated::new(seed);
    let mut dice = Dice(seed);
    let mut rig = Rig::open(&disk, options);
    for _ in 0..1 + dice.below(4) {
        let end = ends[dice.below(ends.len())];
        let cut = disk.operations() + dice.below(60) as u64;
        let mut luck = Dice(dice.number());
        disk.judge(move |number, _| match luck.below(100) {
            _ if number == cut => Some(Fault::PowerCut),
            percent if percent >= trouble => None,
            percent if percent % 2 == 0 => Some(Fault::NoSpace),
            _ => Some(Fault::Io),
        });
        let before = rig.durable();
        while !disk.is_off() && rig.records.len() < 500 {
            rig.append_any(&mut dice);
            if dice.one_in(4) && !rig.commit() {
                assert_eq!(rig.engine.room(), Room::Full);
                if !disk.is_off() {
                    rig.check_reading();
                }
            }
        }
        assert!(rig.durable() >= before);
        let again = match end {
            End::PowerCut => {
                disk.cut_power();
                disk.restart();
                open_again(&disk, options, &mut dice)
            }
            End::Kill => {
                disk.kill();
                Rig::open(&disk, options)
            }
        };
        check(&rig, &again, promised(&rig, end));
        rig = again;
    }
}

#[test]
fn a_power_cut_leaves_the_beginning() {
    with_seeds(500, |seed| lives(seed, SMALL, &[End::PowerCut], 0));
}

#[test]
fn a_power_cut_between_two_syncs_leaves_the_beginning() {
    with_seeds(500, |seed| lives(seed, INTERVAL, &[End::PowerCut], 0));
}

#[test]
fn a_disk_that_fails_now_and_then_breaks_no_promise() {
    with_seeds(500, |seed| lives(seed, SMALL, &[End::PowerCut], 20));
    with_seeds(500, |seed| lives(seed, INTERVAL, &[End::PowerCut], 20));
}

#[test]
fn a_kill_leaves_all_that_was_written() {
    with_seeds(300, |seed| lives(seed, INTERVAL, &[End::Kill], 0));
    with_seeds(300, |seed| lives(seed, INTERVAL, &[End::Kill], 20));
}

/// What a life finds at its beginning is promised to it: a kill leaves things unsynced that the power
/// cut after it would take.
#[test]
fn a_power_cut_after_a_kill_leaves_what_the_kill_left() {
    for options in [SMALL, INTERVAL] {
        for trouble in [0, 20] {
            with_seeds(300, |seed| lives(seed, options, &[End::PowerCut, End::Kill], trouble));
        }
    }
}

/// A short life in which everything happens: several records to a batch, a record larger than a
/// segment, segments that fill up, and one that is removed.
fn script(rig: &mut Rig) {
    for length in [10, 1500, 20, 900, 30, 5000, 40, 600, 700, 800] {
        rig.append(&vec![length as u8; length]);
        rig.append(b"and this");
        rig.commit();
    }
}

/// How many operations there are from the opening of an empty disk on.
fn operations(options: Options) -> u64 {
    let disk = Simulated::new(0);
    script(&mut Rig::open(&disk, options));
    disk.operations()
}

#[test]
fn the_power_may_fail_at_any_operation() {
    for options in [SMALL, INTERVAL] {
        let operations = operations(options);
        assert!(operations > 30);
        for operation in 0..operations {
            with_seeds(10, |seed| {
                let disk = Simulated::new(seed);
                disk.cut_power_at(operation);
                let mut rig = Rig::open(&disk, options);
                script(&mut rig);
                assert!(disk.is_off(), "operation {operation}");
                disk.restart();
                let mut dice = Dice(seed);
                let mut again = open_again(&disk, options, &mut dice);
                check(&rig, &again, rig.synced());
                // It goes on as if nothing had been.
                let before = again.records.len();
                script(&mut again);
                assert_eq!(again.durable(), before + 20);
                disk.cut_power();
                disk.restart();
                check(&again, &open_again(&disk, options, &mut dice), before + 20);
            });
        }
    }
}

#[test]
fn any_operation_may_fail_once_or_for_a_while() {
    for options in [SMALL, INTERVAL] {
        for operation in 0..operations(options) {
            for (fault, times) in [(Fault::NoSpace, 1), (Fault::Io, 1), (Fault::NoSpace, 7), (Fault::Io, 7)] {
                let disk = Simulated::new(operation);
                disk.judge(move |number, _| {
                    (operation..operation + times).contains(&number).then_some(fault)
                });
                let mut rig = Rig::open(&disk, options);
                script(&mut rig);
                // Whatever was left undone is done as soon as the disk works.
                for _ in 0..times {
                    rig.commit();
                }
                assert!(rig.commit(), "operation {operation}");
                assert_eq!((rig.durable(), rig.synced()), (20, 20), "operation {operation}");
                assert_eq!(rig.engine.room(), Room::Open);
                rig.check_reading();
                disk.cut_power();
                disk.restart();
                let again = Rig::open(&disk, options);
                check(&rig, &again, 20);
            }
        }
    }
}
