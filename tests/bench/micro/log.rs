use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, process};

use divan::Bencher;
use divan::counter::ItemsCount;
use gateway_model::{Message, Moment, Qos, Stored};
use gateway_store::{
    Copy, CopyState, Directory, Disk, Files, MessageRecord, Options, Place, Record, Simulated, Store,
};

use crate::crowd::{client_id, topic};

/// Messages that become durable by one sync.
const GROUPS: [usize; 3] = [1, 16, 256];
const SESSION: u64 = 1;
/// Nothing is cleaned meanwhile, so all has to find room; samples are few, so that it does.
const BYTES_MAX: u64 = 16 << 30;
const SAMPLES: u32 = 100;
const SAMPLE_SIZE: u32 = 4;

/// A group appended, written and synced, on the disk that temporary files are on.
#[divan::bench(args = GROUPS, sample_count = SAMPLES, sample_size = SAMPLE_SIZE)]
fn append_to_directory(bencher: Bencher<'_, '_>, group: usize) {
    let folder = Folder::new();
    append(bencher, group, folder.files());
}

/// The same without a disk: what it costs the processor.
#[divan::bench(args = GROUPS, sample_count = SAMPLES, sample_size = SAMPLE_SIZE)]
fn append_to_simulation(bencher: Bencher<'_, '_>, group: usize) {
    append(bencher, group, Arc::new(Simulated::new(1)));
}

/// A group of messages that are in the log is settled by their only holder, and that is written and synced.
#[divan::bench(args = GROUPS, sample_count = SAMPLES, sample_size = SAMPLE_SIZE)]
fn settle_in_simulation(bencher: Bencher<'_, '_>, group: usize) {
    let log = Log::open(Arc::new(Simulated::new(1)));
    bencher
        .counter(ItemsCount::new(group))
        .with_inputs(|| log.append(group))
        .bench_values(|places| log.settle(places));
}

fn append(bencher: Bencher<'_, '_>, group: usize, files: Arc<dyn Files>) {
    let log = Log::open(files);
    bencher.counter(ItemsCount::new(group)).bench(|| log.append(group));
}

struct Log {
    disk: Disk,
    record: Record,
}

impl Log {
    fn open(files: Arc<dyn Files>) -> Self {
        let anchor = Moment { instant: Instant::now(), unix_millis: 0 };
        let options = Options { bytes_max: BYTES_MAX, ..Options::default() };
        let disk = Disk::open_unthreaded(options, files, anchor).expect("a new log").0;
        Self { disk, record: record() }
    }

    /// Where the messages are.
    fn append(&self, group: usize) -> Vec<Place> {
        let mut appending = self.disk.begin().expect("a disk keeps everything");
        let places = (0..group).map(|_| appending.append(&self.record)).collect();
        drop(appending);
        assert!(self.disk.commit(), "the disk fails");
        places
    }

    fn settle(&self, places: Vec<Place>) {
        let mut appending = self.disk.begin().expect("a disk keeps everything");
        for place in &places {
            let ordinals = [place.number()].into_iter().collect();
            appending.append_lazily(&Record::Settled { session: SESSION, ordinals });
        }
        appending.let_go(places);
        drop(appending);
        assert!(self.disk.commit(), "the disk fails");
    }
}

/// A message of 64 bytes for one session.
fn record() -> Record {
    let message = Message {
        topic: topic("plant/hall-3/press-17/temperature"),
        payload: vec![b'x'; 64].into(),
        properties: None,
        publisher: client_id("press-17"),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        stored: Stored::default(),
    };
    let copy = Copy {
        session: SESSION,
        ordinal: 1,
        qos: Qos::AtLeastOnce,
        retain: false,
        priority: 0,
        state: CopyState::Waiting,
        identifiers: Default::default(),
        shared: None,
    };
    Record::Message(MessageRecord {
        message: Arc::new(message),
        copies: [copy].into_iter().collect(),
        retained: false,
        delayed: None,
        held: None,
    })
}

/// A folder that goes when this goes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("tidegate-bench-{}", process::id())))
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(Directory::open(&self.0).expect("a folder to write in"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for what may be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}
