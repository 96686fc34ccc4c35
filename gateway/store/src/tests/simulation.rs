//! Everything together on a disk that loses what a disk may lose: whatever was promised is there
//! again, and nothing that did not happen.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::Moment;
use parking_lot::Mutex;

use crate::disk::{Disk, Mode, Options};
use crate::tests::dice::{Dice, with_seeds};
use crate::tests::domain::{Domain, State};
use crate::tests::live::Live;
use crate::tests::log::rig::moment;
use crate::{Damage, Damaged, Figures, Image, Operation, Place, Simulated, Store, Survey};

/// A gateway between two crashes.
struct Life {
    disk: Disk,
    domain: Domain,
    /// After each record: where the log ended then, and what had happened. First what was there at
    /// the start.
    states: Vec<(Place, State)>,
}

impl Life {
    /// `None` if the power failed meanwhile.
    fn begin(disk: &Simulated, options: Options, anchor: Moment) -> Option<Self> {
        let (opened, image) = match Disk::open_unthreaded(options, Arc::new(disk.clone()), anchor) {
            Ok(opened) => opened,
            Err(error) => {
                assert!(disk.is_off(), "{error}");
                return None;
            }
        };
        assert_eq!(opened.damaged(), []);
        let state = state_of(&opened, &image);
        Some(Self { disk: opened, domain: Domain::of(state.clone()), states: vec![(Place::NOWHERE, state)] })
    }

    fn act(&mut self, dice: &mut Dice) {
        let mut live = Live(self.disk.begin().unwrap());
        let states = self.domain.act(dice, &mut live);
        let end = live.0.end();
        self.states.extend(states.into_iter().map(|state| (end, state)));
    }

    fn clean(&self) {
        self.disk.clean(&self.domain);
    }

    /// What may be there after a crash: some state from the last one promised on.
    fn promise(&self) -> Promise {
        let durable = self.disk.durable();
        let first = self.states.iter().rposition(|(end, _)| *end <= durable).unwrap();
        Promise(self.states[first..].iter().map(|(_, state)| state.clone()).collect())
    }

    /// The same if nothing is promised.
    fn hope(&self) -> Promise {
        Promise(self.states.iter().map(|(_, state)| state.clone()).collect())
    }
}

struct Promise(Vec<State>);

impl Promise {
    fn check(&self, life: &Life) {
        let found = life.states[0].1.to_text();
        let is_one = self.0.iter().rev().any(|state| state.to_text() == found);
        assert!(is_one, "promised:\n{}\nfound:\n{found}", self.0[0].to_text());
    }
}

fn state_of(disk: &Disk, image: &Image) -> State {
    State::of(image, |place| disk.read(place).unwrap())
}

const SMALL: Options =
    Options { mode: Mode::Sync, segment_bytes: 1024, bytes_max: 1 << 20, pending_bytes_max: 4096 };

/// Some lives of a gateway on one disk.
fn run(seed: u64, figures: &mut Figures) {
    let dice = &mut Dice(seed);
    let (disk, anchor) = (Simulated::new(seed), moment());
    let is_written_only = dice.one_in(4);
    let mode = if is_written_only { Mode::Interval(Duration::from_secs(1)) } else { Mode::Sync };
    let options = Options { mode, segment_bytes: [1024, 2048][dice.below(2)], ..SMALL };
    let mut promise = Promise(vec![State::default()]);
    for _ in 0..=dice.below(3) {
        let Some(mut life) = Life::begin(&disk, options, anchor) else {
            disk.restart();
            continue;
        };
        promise.check(&life);
        let (is_kill, operations) = (dice.one_in(3), disk.operations());
        if !is_kill {
            disk.cut_power_at(operations + dice.below(200) as u64);
        }
        let acts = 20 + dice.below(120);
        for _ in 0..acts {
            life.act(dice);
            if dice.one_in(2) {
                life.clean();
            }
            if dice.one_in(3) && !life.disk.commit() {
                assert!(disk.is_off());
                break;
            }
        }
        promise = if is_written_only && !is_kill { life.hope() } else { life.promise() };
        assert_eq!(life.disk.figures().damaged_bytes, 0);
        figures.bytes_cleaned += life.disk.figures().bytes_cleaned;
        figures.bytes_written += life.disk.figures().bytes_written;
        drop(life);
        if is_kill { disk.kill() } else { disk.restart() }
    }
    let life = Life::begin(&disk, options, anchor).unwrap();
    promise.check(&life);
}

#[test]
fn what_was_promised_is_there_after_any_crash() {
    let figures = std::cell::RefCell::new(Figures::default());
    with_seeds(500, |seed| run(seed, &mut figures.borrow_mut()));
    // Or the test would not be one of cleaning.
    let figures = figures.into_inner();
    assert!(figures.bytes_cleaned * 20 > figures.bytes_written, "{figures:?}");
}

/// A short script with cleaning in it, in which the power fails at one operation of the disk.
fn script(disk: &Simulated, anchor: Moment) -> (Option<Promise>, u64) {
    let dice = &mut Dice(42);
    let Some(mut life) = Life::begin(disk, SMALL, anchor) else { return (None, 0) };
    for turn in 0..120 {
        life.act(dice);
        if turn > 60 {
            life.clean();
        }
        if turn % 3 == 0 && !life.disk.commit() {
            break;
        }
    }
    (Some(life.promise()), life.disk.figures().bytes_cleaned)
}

#[test]
fn the_power_may_fail_at_every_boundary() {
    let anchor = moment();
    let whole = Simulated::new(0);
    let removed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = removed.clone();
    whole.judge(move |_, operation| {
        counted.fetch_add((operation == Operation::Remove).into(), std::sync::atomic::Ordering::Relaxed);
        None
    });
    let (_, bytes_cleaned) = script(&whole, anchor);
    assert!(bytes_cleaned > 0 && removed.load(std::sync::atomic::Ordering::Relaxed) > 3);
    with_seeds(whole.operations() * 3, |seed| {
        let disk = Simulated::new(seed);
        disk.cut_power_at(seed % whole.operations());
        let (promise, _) = script(&disk, anchor);
        assert!(disk.is_off());
        disk.restart();
        let life = Life::begin(&disk, SMALL, anchor).unwrap();
        promise.unwrap_or(Promise(vec![State::default()])).check(&life);
        // What recovery left can be used, and cleaned, and is there another time.
        let mut life = life;
        let dice = &mut Dice(seed);
        for _ in 0..20 {
            life.act(dice);
            life.clean();
            assert!(life.disk.commit());
        }
        let promise = life.promise();
        drop(life);
        disk.restart();
        promise.check(&Life::begin(&disk, SMALL, anchor).unwrap());
    });
}

/// A sector that cannot be read keeps its segment, unless whoever compacts has agreed to lose it.
#[test]
fn compacting_discards_what_cannot_be_read_only_with_leave() {
    let (disk, anchor) = (Simulated::new(5), moment());
    let mut life = Life::begin(&disk, SMALL, anchor).unwrap();
    for _ in 0..100 {
        life.act(&mut Dice(life.states.len() as u64));
    }
    assert!(life.disk.commit());
    drop(life);
    disk.make_unreadable("00000002.log", 500..501);
    let survey = || Survey::of(&disk, anchor).unwrap();
    let damaged = survey().damaged;
    assert!(matches!(damaged[..], [Damaged { segment: 2, why: Damage::Unreadable, .. }]), "{damaged:?}");
    let compact = |discards_unreadable| {
        let (store, image) = Disk::open_unthreaded(SMALL, Arc::new(disk.clone()), anchor).unwrap();
        store.compact(&Mutex::new(image), discards_unreadable)
    };
    let held = survey().image.holds().count();
    let refused = compact(false).unwrap_err().to_string();
    assert!(refused.contains("parts of 00000002.log are unreadable"), "{refused}");
    assert_eq!((survey().image.holds().count(), survey().damaged), (held, damaged));
    compact(true).unwrap();
    assert_eq!((survey().image.holds().count(), survey().damaged), (held, vec![]));
    assert!(disk.contents("00000002.log").is_none());
}

/// What a store holds, and nothing else, is left by compacting; the power may fail meanwhile.
#[test]
fn compacting_loses_nothing() {
    let anchor = moment();
    let fill = |disk: &Simulated| {
        let mut life = Life::begin(disk, SMALL, anchor).unwrap();
        let dice = &mut Dice(11);
        for _ in 0..200 {
            life.act(dice);
        }
        assert!(life.disk.commit());
        life.domain.state().to_text()
    };
    let compact = |disk: &Simulated| {
        let opened = Disk::open_unthreaded(SMALL, Arc::new(disk.clone()), anchor);
        let Ok((store, image)) = opened else { return };
        let result = store.compact(&Mutex::new(image), false);
        assert!(result.is_ok() || disk.is_off());
    };
    let whole = Simulated::new(0);
    let held = fill(&whole);
    let (operations, before) = (whole.operations(), Survey::of(&whole, anchor).unwrap());
    compact(&whole);
    let after = Survey::of(&whole, anchor).unwrap();
    assert!(after.used_bytes * 4 < before.used_bytes * 3, "{} of {}", after.used_bytes, before.used_bytes);
    let compacting = whole.operations() - operations;
    with_seeds(compacting * 2, |seed| {
        let disk = Simulated::new(seed);
        assert_eq!(fill(&disk), held);
        disk.cut_power_at(operations + seed % compacting);
        compact(&disk);
        assert!(disk.is_off());
        disk.restart();
        assert_eq!(Life::begin(&disk, SMALL, anchor).unwrap().states[0].1.to_text(), held);
    });
}
