use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use gateway_model::{Message, Moment, Notify};
use parking_lot::{Mutex, RwLock};

use crate::disk::Options;
use crate::files::{File, Files};
use crate::log::Log;
use crate::recovery::Recovered;
use crate::segment;
use crate::{Appending, Damaged, Figures, Place, ReadError, Record, Room, frame};

/// What those who append, those who read, and the committer have in common.
pub(crate) struct Engine {
    pub options: Options,
    pub files: Arc<dyn Files>,
    pub anchor: Moment,
    /// Where the log ended when it was opened.
    pub before: Place,
    /// What was set aside then.
    pub damaged: Vec<Damaged>,
    /// Held by whoever appends: the outermost lock.
    turn: Mutex<()>,
    /// Held for a moment, by anybody: the innermost lock.
    pub log: Mutex<Log>,
    durable: AtomicU64,
    pending_bytes: AtomicU64,
    full: AtomicBool,
    failing: AtomicBool,
    /// There is no committer any more.
    has_failed: AtomicBool,
    stopping: AtomicBool,
    watchers: RwLock<Vec<Arc<dyn Notify>>>,
    committer: OnceLock<Thread>,
    /// Open files to read from, by segment.
    handles: Mutex<HashMap<u32, Arc<dyn File>>>,
    /// Segments to be removed, the oldest first, each as soon as what was written anew is synced.
    pub retiring: Mutex<Vec<(u32, Place)>>,
    pub counters: Counters,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub messages: AtomicU64,
    /// Sessions that are over.
    pub ended: AtomicU64,
    pub bytes_written: AtomicU64,
    pub bytes_cleaned: AtomicU64,
    pub syncs: AtomicU64,
    pub failures: AtomicU64,
    pub damaged_ranges: AtomicU64,
    pub damaged_bytes: AtomicU64,
}

/// So many segments are kept open for reading.
const HANDLES_MAX: usize = 16;
/// A record up to this size is read at once.
const READ_BYTES: usize = 1024;

impl Engine {
    pub fn new(mut options: Options, files: Arc<dyn Files>, anchor: Moment, recovered: Recovered) -> Self {
        // Below four segments there is no room to tidy up in.
        let quarter = u32::try_from(options.bytes_max / 4).unwrap_or(u32::MAX);
        options.segment_bytes = options.segment_bytes.min(quarter).max(SEGMENT_BYTES_MIN);
        let counters = Counters::default();
        counters.damaged_ranges.store(recovered.damaged.len() as u64, Relaxed);
        counters.damaged_bytes.store(recovered.damaged.iter().map(|range| range.bytes()).sum(), Relaxed);
        let log = Log::new(recovered.salt, options.segment_bytes, recovered.next, recovered.segments);
        Self {
            options,
            files,
            anchor,
            before: recovered.end,
            damaged: recovered.damaged,
            turn: Mutex::new(()),
            durable: AtomicU64::new(log.end().number()),
            log: Mutex::new(log),
            pending_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            watchers: RwLock::new(Vec::new()),
            committer: OnceLock::new(),
            handles: Mutex::new(HashMap::new()),
            retiring: Mutex::new(Vec::new()),
            counters,
        }
    }

    pub fn begin(&self) -> Appending<'_> {
        Appending::new(self, self.turn.lock())
    }

    /// Runs while nobody has a turn.
    pub fn between_turns<T>(&self, run: impl FnOnce(&mut Log) -> T) -> T {
        let _turn = self.turn.lock();
        run(&mut self.log.lock())
    }

    pub fn append(&self, log: &mut Log, record: &Record) -> Place {
        let holders = match record {
            Record::Message(message) => {
                self.counters.messages.fetch_add(1, Relaxed);
                message.copies.len() + usize::from(message.retained) + usize::from(message.delayed.is_some())
            }
            Record::Ended { .. } => {
                self.counters.ended.fetch_add(1, Relaxed);
                0
            }
            _ => 0,
        };
        self.append_bytes(log, holders, |out| record.encode(self.anchor, out))
    }

    pub fn append_bytes(&self, log: &mut Log, holders: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Place {
        let place = log.append(holders, encode);
        self.measure(log);
        place
    }

    /// Makes known how much is pending, and whether there is space.
    pub fn measure(&self, log: &Log) {
        self.pending_bytes.store(log.pending_bytes(), Relaxed);
        self.full.store(log.is_full(), Relaxed);
    }

    pub fn durable(&self) -> Place {
        Place::from_number(self.durable.load(Acquire))
    }

    pub fn set_durable(&self, place: Place) {
        self.durable.store(place.number(), Release);
    }

    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Relaxed);
    }

    pub fn fail_for_good(&self) {
        self.has_failed.store(true, Release);
        self.set_failing(true);
        self.ring();
    }

    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Acquire)
    }

    /// Whether so much waits for the disk that cleaning should not add to it.
    pub fn is_loaded(&self) -> bool {
        self.pending_bytes.load(Relaxed) > self.options.pending_bytes_max / 2
    }

    /// Whether there is no space, however well the disk works.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    pub fn room(&self) -> Room {
        if self.failing.load(Relaxed) || self.is_full() {
            Room::Full
        } else if self.pending_bytes.load(Relaxed) > self.options.pending_bytes_max {
            Room::Behind
        } else {
            Room::Open
        }
    }

    pub fn read(&self, place: Place) -> Result<Arc<Message>, ReadError> {
        let frame = self.frame(place)?;
        match Record::decode_message(&frame[frame::OVERHEAD..], self.anchor, place) {
            Ok(message) => Ok(Arc::new(message)),
            Err(error) => Err(ReadError::Damaged { place, what: error.what() }),
        }
    }

    /// The bytes of the frame at a place, which is a whole one.
    pub fn frame(&self, place: Place) -> Result<Vec<u8>, ReadError> {
        let (salt, end) = {
            let log = self.log.lock();
            if let Some(frame) = log.pending(place) {
                return Ok(frame.to_vec());
            }
            let segment = log.segments.get(&place.segment());
            let used = segment.map_or(0, |segment| segment.used);
            (log.salt(), used.checked_sub(place.offset()).ok_or(ReadError::Nowhere(place))? as usize)
        };
        let failed = |error: io::Error| match error.kind() {
            // It has been removed since.
            io::ErrorKind::NotFound => ReadError::Nowhere(place),
            _ => ReadError::Io { place, error: Arc::new(error) },
        };
        let file = self.handle(place.segment()).map_err(failed)?;
        let mut bytes = vec![0; READ_BYTES];
        let read = file.read_at(&mut bytes, place.offset().into()).map_err(failed)?;
        bytes.truncate(read);
        let damaged = |what| ReadError::Damaged { place, what };
        let length = frame::length(&bytes, salt, place).filter(|length| frame::OVERHEAD + length <= end);
        let length = length.ok_or(damaged("no record begins here"))?;
        if frame::OVERHEAD + length > read {
            bytes.resize(frame::OVERHEAD + length, 0);
            let rest = u64::from(place.offset()) + read as u64;
            file.read_at(&mut bytes[read..], rest).map_err(failed)?;
        }
        frame::record(&bytes, salt, place).ok_or(damaged("its checksum is wrong"))?;
        bytes.truncate(frame::OVERHEAD + length);
        Ok(bytes)
    }

    fn handle(&self, number: u32) -> io::Result<Arc<dyn File>> {
        let mut handles = self.handles.lock();
        if let Some(file) = handles.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = self.files.open(&segment::name(number))?;
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        handles.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Nothing is read from the segment any more.
    pub fn close(&self, number: u32) {
        self.handles.lock().remove(&number);
    }

    pub fn watch(&self, watcher: Arc<dyn Notify>) {
        self.watchers.write().push(watcher);
    }

    pub fn ring(&self) {
        for watcher in self.watchers.read().iter() {
            watcher.notify();
        }
    }

    pub fn set_committer(&self, thread: Thread) {
        // Set once, where it is spawned.
        let _ = self.committer.set(thread);
    }

    /// Costs a system call only while the committer sleeps.
    pub fn wake(&self) {
        if let Some(thread) = self.committer.get() {
            thread.unpark();
        }
    }

    pub fn stop(&self) {
        self.stopping.store(true, Release);
        self.wake();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    pub fn figures(&self) -> Figures {
        let log = self.log.lock();
        Figures {
            messages: self.counters.messages.load(Relaxed),
            bytes_written: self.counters.bytes_written.load(Relaxed),
            bytes_cleaned: self.counters.bytes_cleaned.load(Relaxed),
            syncs: self.counters.syncs.load(Relaxed),
            bytes_on_disk: log.bytes_on_disk(),
            segments: log.segments.values().filter(|segment| segment.size > 0).count() as u64,
            bytes_pending: log.pending_bytes(),
            damaged_ranges: self.counters.damaged_ranges.load(Relaxed),
            damaged_bytes: self.counters.damaged_bytes.load(Relaxed),
            failures: self.counters.failures.load(Relaxed),
            is_failing: self.failing.load(Relaxed),
        }
    }
}

/// A segment takes at least a few records.
const SEGMENT_BYTES_MIN: u32 = 1024;
