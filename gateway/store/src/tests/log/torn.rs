use std::time::Duration;

use super::rig::{Rig, SMALL};
use crate::Simulated;
use crate::disk::{Mode, Options};
use crate::tests::dice::{Dice, with_seeds};

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
    for (place, record) in &rig.records {
        assert_eq!(&rig.engine.record(*place).expect("it is there"), record);
    }
    disk.restart();
    let again = Rig::open(&disk, SMALL);
    assert!(again.records == rig.records);
    assert_eq!((again.damaged, again.torn), (vec![], None));
}

/// Appends and commits until the power fails, again and again.
fn lives(seed: u64, options: Options) {
    let disk = Simulated::new(seed);
    let mut dice = Dice(seed);
    let mut rig = Rig::open(&disk, options);
    for _ in 0..1 + dice.below(4) {
        let cut = disk.operations() + dice.below(60) as u64;
        disk.cut_power_at(cut);
        while !disk.is_off() && rig.records.len() < 2_000 {
            rig.append_any(&mut dice);
            if dice.one_in(4) {
                rig.commit();
            }
        }
        disk.cut_power();
        disk.restart();
        let again = Rig::open(&disk, options);
        assert_eq!(again.damaged, vec![]);
        let found = again.records.len();
        assert!(again.records == rig.records[..found], "what is there is not the beginning of what was");
        let promised = match options.mode {
            Mode::Sync => rig.durable(),
            Mode::Interval(_) => rig.synced(),
        };
        assert!(found >= promised, "{promised} records were promised, {found} are there");
        rig = again;
    }
}

#[test]
fn a_power_cut_leaves_the_beginning() {
    with_seeds(1_000, |seed| lives(seed, SMALL));
}

#[test]
fn a_power_cut_between_two_syncs_leaves_the_beginning() {
    let interval = Mode::Interval(Duration::from_secs(3600));
    with_seeds(1_000, |seed| lives(seed, Options { mode: interval, ..SMALL }));
}
