use std::sync::Arc;

use crate::disk::Options;
use crate::tests::dice::{Dice, with_seeds};
use crate::tests::domain::Domain;
use crate::tests::live::Live;
use crate::tests::log::rig::{SMALL, moment};
use crate::{Disk, Room, Simulated, Store};

struct Running {
    store: Disk,
    domain: Domain,
}

impl Running {
    fn open(disk: &Simulated, options: Options) -> Self {
        let store = Disk::open_unthreaded(options, Arc::new(disk.clone()), moment()).unwrap().0;
        Self { store, domain: Domain::default() }
    }

    fn act(&self, dice: &mut Dice) {
        self.domain.act(dice, &mut Live(self.store.begin().unwrap()));
    }

    /// Whatever there is to do.
    fn clean(&self) {
        while self.store.clean(&self.domain) {
            assert!(self.store.commit());
        }
        assert!(self.store.commit());
    }
}

/// Where nothing happens nothing is written, however often somebody asks, and whatever is there.
#[test]
fn an_idle_log_is_left_alone() {
    with_seeds(30, |seed| {
        let (disk, dice) = (Simulated::new(seed), &mut Dice(seed));
        let running = Running::open(&disk, SMALL);
        for _ in 0..300 {
            running.act(dice);
            if dice.one_in(4) {
                assert!(running.store.commit());
            }
        }
        running.clean();
        let operations = disk.operations();
        for _ in 0..10 {
            running.clean();
        }
        assert_eq!(disk.operations(), operations);
    });
}

/// What is on the disk stays in proportion to what is held, for little more writing.
#[test]
fn a_log_does_not_outgrow_what_it_holds() {
    let (disk, dice) = (Simulated::new(3), &mut Dice(3));
    let running = Running::open(&disk, Options { bytes_max: 1 << 30, ..SMALL });
    for _ in 0..1_500 {
        running.act(dice);
        if dice.one_in(8) {
            assert!(running.store.commit());
            running.clean();
        }
        let figures = running.store.figures();
        // A message and its copies, sessions, and the segments that are open or no waste.
        let held = running.domain.state().holds() as u64 * 400 + 40 * 400;
        let most = 3 * held + 8 * u64::from(SMALL.segment_bytes);
        assert!(figures.bytes_on_disk < most, "{} of {most}", figures.bytes_on_disk);
    }
    let figures = running.store.figures();
    assert!(figures.bytes_cleaned * 2 < figures.bytes_written, "{figures:?}");
}

/// A full disk is left again by what is settled, as often as it happens.
#[test]
fn a_full_disk_is_left_again() {
    with_seeds(10, |seed| {
        let (disk, dice) = (Simulated::new(seed), &mut Dice(seed));
        let running = Running::open(&disk, Options { bytes_max: 16 * 2048, ..SMALL });
        let mut was_full = 0;
        for _ in 0..1_500 {
            if running.store.room() != Room::Full {
                running.act(dice);
                assert!(running.store.commit());
                continue;
            }
            was_full += 1;
            running.domain.settle_all(dice.below(3), &mut Live(running.store.begin().unwrap()));
            assert!(running.store.commit());
            running.clean();
            assert_ne!(running.store.room(), Room::Full);
        }
        assert!(was_full > 0);
    });
}
