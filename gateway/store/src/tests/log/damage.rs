use std::ops::Range;

use super::rig::{Rig, SMALL};
use crate::recovery::{Damage, OpenError};
use crate::segment::{self, Header};
use crate::tests::dice::{Dice, with_seeds};
use crate::{Damaged, Files, Place, Simulated, frame};

/// A log of several segments that is all synced; and behind it a last record, so that this is known
/// of everything before.
fn written(seed: u64) -> (Simulated, Vec<(Place, Vec<u8>)>) {
    let disk = Simulated::new(seed);
    let mut dice = Dice(seed);
    let mut rig = Rig::open(&disk, SMALL);
    for _ in 0..60 {
        rig.append_any(&mut dice);
        if dice.one_in(3) {
            assert!(rig.commit());
        }
    }
    assert!(rig.commit());
    rig.append(b"the last");
    assert!(rig.commit());
    (disk, rig.records)
}

fn bytes_of(place: Place, record: &[u8]) -> Range<u64> {
    let start = u64::from(place.offset());
    start..start + (frame::OVERHEAD + record.len()) as u64
}

fn is_hit(damaged: &Damaged, place: Place, record: &[u8]) -> bool {
    let bytes = bytes_of(place, record);
    let overlaps = damaged.range.start < bytes.end && bytes.start < damaged.range.end;
    damaged.segment == place.segment() && (overlaps || matches!(damaged.why, Damage::Missing { .. }))
}

/// Exactly the records in the ranges reported are missing. How many these are.
fn check(disk: &Simulated, records: &[(Place, Vec<u8>)]) -> (usize, Rig) {
    let rig = Rig::open(disk, SMALL);
    let is_missing = |(place, record): &&(Place, Vec<u8>)| {
        rig.damaged.iter().any(|damaged| is_hit(damaged, *place, record))
    };
    let (missing, left): (Vec<_>, Vec<_>) = records.iter().partition(is_missing);
    let found: Vec<_> = rig.records.iter().collect();
    assert!(found == left, "other records are there than the damage {:?} leaves", rig.damaged);
    assert_eq!(rig.torn, None);
    (missing.len(), rig)
}

/// A random segment and a byte in it; not of the last batch, which nothing vouches for.
fn somewhere(dice: &mut Dice, records: &[(Place, Vec<u8>)]) -> (String, u64) {
    let (last, _) = records.last().expect("there are some");
    let number = 1 + dice.below(last.segment() as usize) as u32;
    let ends = records.iter().filter(|(place, _)| place.segment() == number);
    let end = ends.map(|(place, record)| bytes_of(*place, record).end).max().expect("no segment is empty");
    let end = if number == last.segment() { u64::from(last.offset()) - 32 } else { end };
    (segment::name(number), dice.below(end as usize) as u64)
}

#[test]
fn one_bit_costs_one_record_at_most() {
    with_seeds(800, |seed| {
        let (disk, records) = written(seed % 50);
        let mut dice = Dice(seed);
        let (name, byte) = somewhere(&mut dice, &records);
        disk.flip(&name, byte, dice.below(8) as u8);
        let (missing, rig) = check(&disk, &records);
        assert!(missing <= 1);
        let told =
            |damaged: &Damaged| segment::name(damaged.segment) == name && damaged.range.contains(&byte);
        assert!(rig.damaged.iter().any(told), "{name} {byte}: only {:?} is reported", rig.damaged);
        assert_eq!(rig.engine.figures().damaged_ranges, rig.damaged.len() as u64);
    });
}

#[test]
fn many_bits_cost_what_is_reported() {
    with_seeds(400, |seed| {
        let (disk, records) = written(seed % 10);
        let mut dice = Dice(seed);
        let bits = 1 + dice.below(30);
        for _ in 0..bits {
            let (name, byte) = somewhere(&mut dice, &records);
            disk.flip(&name, byte, dice.below(8) as u8);
        }
        let (missing, rig) = check(&disk, &records);
        assert!(missing <= bits);
        // The next start finds the same, and what was stored since.
        let mut rig = rig;
        let damaged = rig.damaged.clone();
        rig.append(b"since then");
        assert!(rig.commit());
        let again = Rig::open(&disk, SMALL);
        assert!(again.records == rig.records);
        assert_eq!(again.damaged, damaged);
    });
}

#[test]
fn bytes_that_cannot_be_read_cost_their_page() {
    with_seeds(500, |seed| {
        let (disk, records) = written(seed % 50);
        let mut dice = Dice(seed);
        let (name, byte) = somewhere(&mut dice, &records);
        // Not the page with the last batch, which would then not be found.
        if records.last().is_some_and(|(place, _)| segment::name(place.segment()) == name) {
            return;
        }
        disk.make_unreadable(&name, byte..byte + 1);
        let (missing, rig) = check(&disk, &records);
        // Unless there were only zeros, as which it is read.
        assert!(missing == 0 || rig.damaged.iter().any(|damaged| damaged.why == Damage::Unreadable));
    });
}

#[test]
fn a_missing_segment_is_reported() {
    let (disk, records) = written(3);
    disk.lose(&segment::name(2));
    let (missing, rig) = check(&disk, &records);
    assert!(missing > 0);
    assert_eq!(rig.damaged, [Damaged { segment: 2, range: 0..0, why: Damage::Missing { files: 1 } }]);
    disk.lose(&segment::name(3));
    let rig = Rig::open(&disk, SMALL);
    assert_eq!(rig.damaged, [Damaged { segment: 2, range: 0..0, why: Damage::Missing { files: 2 } }]);
    assert!(rig.records.iter().eq(records.iter().filter(|(place, _)| !(2..4).contains(&place.segment()))));
}

#[test]
fn a_payload_that_looks_like_records_is_none() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    rig.append(b"first");
    assert!(rig.commit());
    // A copy of a batch as it is on the disk, and of a frame made by somebody who can guess its
    // place but not the salt.
    let mut forged = disk.contents(&segment::name(1)).expect("it is there")[24..80].to_vec();
    for offset in 0..400 {
        let mut bytes = vec![0; frame::OVERHEAD];
        bytes.extend_from_slice(b"forged");
        frame::finish(&mut bytes, 0, Place::new(1, offset));
        forged.extend_from_slice(&bytes);
    }
    let place = rig.append(&forged[..1500]);
    rig.append(b"behind");
    assert!(rig.commit());
    rig.append(b"the last");
    assert!(rig.commit());
    disk.flip(&segment::name(1), place.offset().into(), 3);
    let (missing, _) = check(&disk, &rig.records);
    assert_eq!(missing, 1);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (disk, _) = written(1);
    let header = Header { version: segment::VERSION + 1, number: 2, salt: 7 };
    let file = disk.open(&segment::name(2)).expect("it is there");
    file.write_at(&header.encode(), 0).expect("the disk works");
    let before = disk.operations();
    let refused = Rig::try_open(std::sync::Arc::new(disk.clone()), SMALL);
    assert!(matches!(refused, Err(OpenError::Newer { found: 2 })));
    assert_eq!(disk.operations(), before);
}

#[test]
fn any_bytes_may_be_in_a_segment() {
    with_seeds(300, |seed| {
        let mut dice = Dice(seed);
        let (disk, records) = written(seed % 5);
        for _ in 0..1 + dice.below(4) {
            let last = records.last().map_or(1, |(place, _)| place.segment());
            let name = segment::name(1 + dice.below(last as usize + 2) as u32);
            let file = disk.create(&name).expect("the disk works");
            let noise: Vec<u8> = (0..dice.below(3000)).map(|_| dice.number() as u8).collect();
            file.write_at(&noise, dice.below(3000) as u64).expect("the disk works");
        }
        // Whatever is found, it is something that was written, and it goes on from there.
        let mut rig = Rig::open(&disk, SMALL);
        assert!(rig.records.iter().all(|record| records.contains(record)));
        rig.append(b"goes on");
        assert!(rig.commit());
        assert!(Rig::open(&disk, SMALL).records == rig.records);
    });
}
