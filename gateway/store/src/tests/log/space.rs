use super::rig::{Rig, SMALL};
use crate::disk::Options;
use crate::segment;
use crate::{Fault, Files, Room, Simulated};

/// Appends and commits until there is no room, and says how much that was.
fn fill(rig: &mut Rig) -> usize {
    let before = rig.records.len();
    while rig.engine.room() == Room::Open {
        rig.append(&[7; 100]);
        assert!(rig.commit());
        assert!(rig.records.len() < 10_000, "it is never full");
    }
    assert_eq!(rig.engine.room(), Room::Full);
    rig.records.len() - before
}

#[test]
fn a_full_disk_is_known_while_there_is_still_room() {
    let disk = Simulated::new(1);
    disk.set_capacity(Some(5 * 2048 + 100));
    let mut rig = Rig::open(&disk, SMALL);
    assert!(fill(&mut rig) > 50);
    assert!(disk.bytes() <= 5 * 2048 + 100);
    // What ends things still fits: a quarter of a segment is kept for it.
    for _ in 0..8 {
        rig.append(b"settled");
        assert!(rig.commit());
    }
    assert_eq!(rig.durable(), rig.records.len());
    assert_eq!(rig.engine.room(), Room::Full);
    // Space comes back.
    disk.set_capacity(None);
    assert!(rig.commit());
    assert_eq!(rig.engine.room(), Room::Open);
    rig.append(b"goes on");
    assert!(rig.commit());
    disk.restart();
    assert!(Rig::open(&disk, SMALL).records == rig.records);
}

#[test]
fn what_does_not_fit_waits_at_its_place() {
    let (disk, mut rig, _) = overfilled();
    disk.set_capacity(None);
    assert!(rig.commit());
    assert_eq!((rig.durable(), rig.engine.room()), (rig.records.len(), Room::Open));
    disk.restart();
    assert!(Rig::open(&disk, SMALL).records == rig.records);
}

#[test]
fn what_did_not_fit_is_gone_with_the_process_and_the_disk_is_still_full() {
    let (disk, rig, durable) = overfilled();
    disk.restart();
    let mut again = Rig::open(&disk, SMALL);
    assert_eq!(again.engine.room(), Room::Full);
    assert!(again.records == rig.records[..durable]);
    disk.set_capacity(None);
    assert!(again.commit());
    assert_eq!(again.engine.room(), Room::Open);
}

/// A full disk, a log that has more than fits on it, and how many of its records are durable.
fn overfilled() -> (Simulated, Rig, usize) {
    let disk = Simulated::new(1);
    disk.set_capacity(Some(4096));
    let mut rig = Rig::open(&disk, SMALL);
    fill(&mut rig);
    let durable = loop {
        let durable = rig.durable();
        rig.append(&[1; 300]);
        if !rig.commit() {
            break durable;
        }
    };
    assert!(rig.records.len() > durable);
    rig.append(&[2; 3000]);
    assert!(!rig.commit() && !rig.commit());
    assert_eq!((rig.durable(), rig.engine.room()), (durable, Room::Full));
    rig.check_reading();
    (disk, rig, durable)
}

#[test]
fn a_full_disk_can_be_opened() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    rig.append(b"before");
    assert!(rig.commit());
    let records = rig.records;
    disk.restart();
    disk.set_capacity(Some(disk.bytes()));
    let mut rig = Rig::open(&disk, SMALL);
    assert!(rig.records == records);
    // The segment that was cut short left space for no other.
    assert_eq!(rig.engine.room(), Room::Full);
    rig.append(b"settled");
    rig.commit();
    disk.set_capacity(None);
    assert!(rig.commit());
    assert_eq!(rig.engine.room(), Room::Open);
}

#[test]
fn the_store_has_a_share_of_the_disk() {
    let disk = Simulated::new(1);
    let options = Options { bytes_max: 8 * 2048, ..SMALL };
    let mut rig = Rig::open(&disk, options);
    fill(&mut rig);
    let figures = rig.engine.figures();
    assert_eq!((figures.bytes_on_disk, figures.segments), (8 * 2048, 8));
    // The oldest segment goes when what was written anew is synced.
    rig.engine.retire(1);
    assert!(rig.commit());
    assert_eq!(rig.engine.room(), Room::Open);
    assert!(disk.open(&segment::name(1)).is_err());
    assert!(fill(&mut rig) > 5);
    let left = rig.records.iter().filter(|(place, _)| place.segment() > 1);
    let again = Rig::open(&disk, options);
    assert!(again.records.iter().eq(left));
    assert_eq!(again.damaged, []);
}

#[test]
fn segments_go_in_order_and_not_before_their_time() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    while rig.engine.log.lock().end().segment() < 5 {
        rig.append(&[7; 100]);
    }
    assert!(rig.commit());
    let numbers = || -> Vec<_> {
        let names = disk.list().expect("the disk works");
        names.iter().filter_map(|name| segment::number_of(name)).collect()
    };
    rig.append(b"written anew");
    rig.engine.retire(1);
    rig.engine.retire(2);
    assert_eq!(rig.engine.segments().first().map(|(number, _)| *number), Some(3));
    assert_eq!(numbers(), [1, 2, 3, 4, 5, 6]);
    // The removal of the first fails, and so nothing else is removed.
    disk.judge(|_, operation| (operation == crate::Operation::Remove).then_some(Fault::Io));
    assert!(rig.commit());
    assert_eq!(numbers(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((rig.engine.figures().failures, rig.engine.room()), (1, Room::Open));
    disk.judge(|_, _| None);
    assert!(rig.commit());
    assert_eq!(numbers(), [3, 4, 5, 6]);
    assert_eq!(rig.engine.room(), Room::Open);
}

#[test]
fn a_reserved_place_is_where_the_record_will_be() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    for length in [10, 1990, 1991, 1992, 30, 2500, 1, 900, 900, 900] {
        for bound in [length, length + 40] {
            let place = rig.engine.begin().reserve(bound);
            assert_eq!(rig.append(&vec![1; length]), place);
        }
    }
    assert!(rig.commit());
    disk.restart();
    assert!(Rig::open(&disk, SMALL).records == rig.records);
}

#[test]
fn a_slow_disk_is_behind() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    while rig.engine.figures().bytes_pending <= SMALL.pending_bytes_max {
        assert_eq!(rig.engine.room(), Room::Open);
        rig.append(&[1; 100]);
    }
    assert_eq!(rig.engine.room(), Room::Behind);
    assert!(rig.commit());
    assert_eq!((rig.engine.room(), rig.engine.figures().bytes_pending), (Room::Open, 0));
}

#[test]
fn an_idle_log_writes_nothing() {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, SMALL);
    rig.append(b"something");
    assert!(rig.commit());
    let before = disk.operations();
    assert!(rig.commit() && rig.commit());
    assert_eq!(disk.operations(), before);
}
