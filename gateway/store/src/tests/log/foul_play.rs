//! What somebody has done to the files while nobody was looking.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::rig::{Rig, SMALL};
use crate::disk::{Mode, Options};
use crate::recovery::{Damage, OpenError};
use crate::segment::{self, Header};
use crate::tests::disk::Folder;
use crate::{Damaged, File, Files, Place, Simulated};

const INTERVAL: Options = Options { mode: Mode::Interval(Duration::from_secs(3600)), ..SMALL };

/// So many segments with something in them, each record committed for itself.
fn filled(options: Options, segments: u32) -> (Simulated, Rig) {
    let disk = Simulated::new(1);
    let mut rig = Rig::open(&disk, options);
    while rig.engine.log.lock().end().segment() <= segments {
        rig.append(&[7; 300]);
        // As the thread does in which it usually runs.
        rig.write();
    }
    assert!(rig.commit());
    (disk, rig)
}

fn numbers(disk: &Simulated) -> Vec<u32> {
    disk.list().unwrap().iter().filter_map(|name| segment::number_of(name)).collect()
}

/// A file of another store, brought in by a backup: the others must not be taken for leftovers.
#[test]
fn files_of_two_stores_are_not_mixed() {
    for foreign in [1, 3, 7] {
        let (disk, _) = filled(SMALL, 4);
        let header = Header { version: segment::VERSION, number: foreign, salt: 7 };
        disk.create(&segment::name(foreign)).unwrap().write_at(&header.encode(), 0).unwrap();
        let (before, files) = (disk.operations(), numbers(&disk));
        let refused = Rig::try_open(Arc::new(disk.clone()), SMALL);
        assert!(matches!(refused, Err(OpenError::Mixed { .. })), "{foreign}");
        assert_eq!((disk.operations(), numbers(&disk)), (before, files));
    }
}

#[test]
fn the_oldest_segment_cannot_be_taken_away() {
    let (disk, _) = filled(SMALL, 4);
    disk.lose(&segment::name(1));
    let missing = |segment, files| [Damaged { segment, range: 0..0, why: Damage::Missing { files } }];
    assert_eq!(Rig::open(&disk, SMALL).damaged, missing(1, 1));
    // But it may go.
    let (disk, mut rig) = filled(SMALL, 6);
    rig.engine.retire(1);
    rig.engine.retire(2);
    assert!(rig.commit());
    assert_eq!(Rig::open(&disk, SMALL).damaged, []);
    disk.lose(&segment::name(3));
    disk.lose(&segment::name(4));
    assert_eq!(Rig::open(&disk, SMALL).damaged, missing(3, 2));
}

/// Nor the one that was written to last, as there is another behind it, made ahead.
#[test]
fn the_last_segment_cannot_be_taken_away() {
    let (disk, rig) = filled(SMALL, 3);
    let (last, _) = rig.records.last().unwrap();
    assert!(numbers(&disk).iter().any(|number| *number > last.segment()));
    disk.lose(&segment::name(last.segment()));
    let mut again = Rig::open(&disk, SMALL);
    let missing = Damaged { segment: last.segment(), range: 0..0, why: Damage::Missing { files: 1 } };
    assert_eq!(again.damaged, [missing]);
    again.append(b"goes on");
    assert!(again.commit());
    assert!(Rig::open(&disk, SMALL).records == again.records);
}

/// Something that is no file has the name of one.
#[test]
fn what_cannot_be_opened_is_named() {
    let folder = Folder::new("named");
    drop(folder.open());
    std::fs::create_dir(folder.0.join("00000001.log")).unwrap();
    let error = Rig::try_open(folder.open(), SMALL).err().unwrap();
    assert!(error.to_string().contains("00000001.log"), "{error}");
}

/// A file may be cut exactly where a record ends: what is left of it is all right.
#[test]
fn a_file_that_was_cut_is_damaged() {
    for options in [SMALL, INTERVAL] {
        let (disk, rig) = filled(options, 3);
        for segment in [1, 2] {
            let of_it = |(place, _): &&(Place, Vec<u8>)| place.segment() == segment;
            let (last, _) = rig.records.iter().rfind(of_it).unwrap();
            // Each of these batches has one record.
            let cut = u64::from(last.offset()) - crate::batch::HEADER as u64;
            disk.open(&segment::name(segment)).unwrap().truncate(cut).unwrap();
        }
        let cut: Vec<_> = Rig::open(&disk, options).damaged.iter().map(|damaged| damaged.segment).collect();
        assert_eq!(cut, [1, 2], "{options:?}");
    }
}

/// The same with the one that was written to when the gateway stopped, once it has begun the next.
#[test]
fn a_file_of_before_the_last_start_that_was_cut_is_damaged() {
    let (disk, rig) = filled(SMALL, 2);
    let (last, _) = *rig.records.last().as_ref().unwrap();
    drop(rig.engine);
    let mut again = Rig::open(&disk, SMALL);
    again.append(b"since then");
    assert!(again.commit());
    disk.open(&segment::name(last.segment())).unwrap().truncate(u64::from(last.offset()) - 32).unwrap();
    let damaged = Rig::open(&disk, SMALL).damaged;
    assert!(matches!(damaged[..], [Damaged { segment, .. }] if segment == last.segment()), "{damaged:?}");
}

/// What the disk does not give back is not what was being written when the power went.
#[test]
fn an_end_that_cannot_be_read_is_not_cut_off() {
    let (disk, rig) = filled(SMALL, 2);
    let (last, _) = rig.records.last().unwrap();
    let (name, bytes) = (segment::name(last.segment()), u64::from(last.offset()));
    disk.make_unreadable(&name, bytes..bytes + 1);
    let again = Rig::open(&disk, SMALL);
    assert_eq!(again.torn, None);
    let is_told = |damaged: &Damaged| damaged.why == Damage::Unreadable && damaged.range.contains(&bytes);
    assert!(again.damaged.iter().any(is_told), "{:?}", again.damaged);
    assert!(disk.contents(&name).unwrap().len() as u64 > bytes + 300);
}

/// Counts how often a file is opened.
struct Counting(Simulated, AtomicUsize);

impl Files for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn salt(&self) -> u32 {
        self.0.salt()
    }
}

/// Many damaged segments one behind the other are not read again for each of them.
#[test]
fn much_damage_does_not_take_long() {
    const SEGMENTS: u32 = 60;
    let (disk, rig) = filled(SMALL, SEGMENTS);
    for number in 2..SEGMENTS {
        disk.open(&segment::name(number)).unwrap().write_at(&[0x93; 2048], 0).unwrap();
    }
    let counting = Arc::new(Counting(disk, AtomicUsize::new(0)));
    let again = Rig::try_open(counting.clone(), SMALL).unwrap();
    assert_eq!(again.damaged.len() as u32, SEGMENTS - 2);
    let left = rig.records.iter().filter(|(place, _)| !(2..SEGMENTS).contains(&place.segment()));
    assert!(again.records.iter().eq(left));
    let opened = counting.1.load(Ordering::Relaxed);
    assert!(opened < 5 * SEGMENTS as usize, "{opened} times a file was read");
}
