use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::disk::Options;
use crate::tests::dice::{Dice, with_seeds};
use crate::tests::domain::Domain;
use crate::tests::live::Live;
use crate::tests::log::rig::{SMALL, moment};
use crate::tests::records::{copy, message_record, session_record};
use crate::{Copy, Disk, Image, MessageRecord, Place, Record, Room, SessionRecord, Simulated, Store};

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

/// A log and what it amounts to, on a disk with little space.
struct Tight {
    store: Disk,
    image: Mutex<Image>,
}

impl Tight {
    fn open() -> Self {
        let options = Options { bytes_max: 16 * 2048, ..SMALL };
        let files = Arc::new(Simulated::new(1));
        let (store, image) = Disk::open_unthreaded(options, files, moment()).unwrap();
        Self { store, image: Mutex::new(image) }
    }

    fn append(&self, record: &Record) -> Place {
        let place = self.store.begin().unwrap().append(record);
        self.image.lock().apply(place, record.clone());
        assert!(self.store.commit());
        place
    }

    fn open_session(&self, number: u64, kept: usize) {
        let record =
            SessionRecord { number, kept: Some(vec![7; kept].into()), ..session_record(&mut Dice(1)) };
        self.append(&Record::Session(Box::new(record)));
    }

    fn clean(&self) {
        for _ in 0..1_000 {
            if !self.store.clean(&self.image) {
                return;
            }
            assert!(self.store.commit());
        }
        panic!("there is no end of it");
    }
}

/// Sessions that could not be freed when the log was gone through are free once they are over.
#[test]
fn a_disk_full_of_sessions_is_left_when_they_end() {
    for kept in (100..2_000).step_by(50) {
        let tight = Tight::open();
        let mut sessions = 0..;
        while tight.store.room() != Room::Full {
            tight.open_session(sessions.next().unwrap(), kept);
        }
        tight.clean();
        {
            // All at once, so that little is added to what is in use.
            let mut appending = tight.store.begin().unwrap();
            for session in 0..sessions.start {
                let place = appending.append(&Record::Ended { session });
                tight.image.lock().apply(place, Record::Ended { session });
            }
        }
        assert!(tight.store.commit());
        tight.clean();
        assert_eq!(tight.store.room(), Room::Open, "sessions with {kept} bytes");
    }
}

/// What came and went while the log was gone through is not taken for what cannot be freed.
#[test]
fn a_disk_filled_while_it_was_cleaned_is_left() {
    for between in (5..60).step_by(5) {
        let tight = Tight::open();
        tight.open_session(1, 10);
        let mut ordinals = 0..;
        while tight.store.room() != Room::Full && ordinals.start < 3_000 {
            let ordinal = ordinals.next().unwrap();
            let copy = Copy { session: 1, ordinal, ..copy(&mut Dice(1)) };
            let message = message_record(&mut Dice(1), moment(), Place::NOWHERE);
            let (copies, delayed) = (SmallVec::from_elem(copy, 1), None);
            let message = MessageRecord { copies, retained: false, delayed, held: None, ..message };
            let place = tight.append(&Record::Message(message));
            tight.append(&Record::Settled { session: 1, ordinals: SmallVec::from_elem(ordinal, 1) });
            tight.store.begin().unwrap().let_go([place]);
            if ordinal % between == 0 {
                tight.store.clean(&tight.image);
            }
        }
        tight.clean();
        assert_eq!(tight.store.room(), Room::Open, "{between} messages between two steps");
    }
}

/// A bit that has flipped since the start costs a message when its segment goes, and that is told.
#[test]
fn what_was_damaged_meanwhile_is_told_when_it_goes() {
    for is_flipped in [false, true] {
        let (disk, dice) = (Simulated::new(3), &mut Dice(3));
        let running = Running::open(&disk, SMALL);
        for _ in 0..100 {
            running.act(dice);
            assert!(running.store.commit());
        }
        if is_flipped {
            disk.flip("00000001.log", 1_000, 1);
        }
        while running.store.figures().segments > 4 && disk.contents("00000001.log").is_some() {
            running.act(dice);
            running.clean();
        }
        let figures = running.store.figures();
        assert_eq!((figures.damaged_ranges, figures.damaged_bytes > 0), (is_flipped.into(), is_flipped));
    }
}
