use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use parking_lot::MutexGuard;

use crate::engine::Engine;
use crate::retiring::Oldest;
use crate::{Place, Record};

/// A turn at the end of the log. Nobody else appends until it is dropped.
pub struct Appending<'a> {
    engine: &'a Engine,
    /// Let go before the committer is woken: it would only wait for it.
    turn: Option<MutexGuard<'a, ()>>,
    wake: bool,
    /// Behind what this turn has appended, if it has anything.
    end: Option<Place>,
}

/// So many who have let go are counted at a time: the committer, and whoever reads, wait that long.
const LET_GO_PER_LOCK: usize = 64;

impl<'a> Appending<'a> {
    pub(crate) fn new(engine: &'a Engine, turn: MutexGuard<'a, ()>) -> Self {
        Self { engine, turn: Some(turn), wake: false, end: None }
    }

    /// Makes sure that a record of up to `bytes` bytes fits where the log is now, and says where it
    /// will be. [`crate::MessageRecord::size_max`] tells how many
    /// a message may need.
    pub fn reserve(&mut self, bytes: usize) -> Place {
        self.engine.log.lock().reserve(bytes)
    }

    /// Appends a record; it is at the place returned. Somebody waits for it: the next sync starts as
    /// soon as the last one has ended.
    pub fn append(&mut self, record: &Record) -> Place {
        let mut log = self.engine.log.lock();
        let place = self.engine.append(&mut log, record);
        self.wake |= log.hurry();
        self.end = Some(log.end());
        place
    }

    /// Appends what nobody waits for: it goes to the disk with what comes next, or after a while.
    pub fn append_lazily(&mut self, record: &Record) -> Place {
        let mut log = self.engine.log.lock();
        let place = self.engine.append(&mut log, record);
        self.wake |= log.dawdle(place, Instant::now);
        self.end = Some(log.end());
        place
    }

    /// Says which segment is the oldest; returns where the log ends then.
    pub(crate) fn append_oldest(&mut self, oldest: Oldest) -> Place {
        let mut log = self.engine.log.lock();
        self.engine.append_bytes(&mut log, 0, |into| oldest.encode(into));
        self.wake |= log.hurry();
        let end = log.end();
        self.end = Some(end);
        end
    }

    /// Appends what was in the log before; returns how many bytes that takes.
    pub(crate) fn append_anew(&mut self, record: &Record) -> u64 {
        let place = self.append_bytes_anew(0, |into| record.encode(self.engine.anchor, into));
        self.end().number() - place.number()
    }

    /// Appends a message that was at `from`, which `holders` still hold, and lets go of what was there.
    pub(crate) fn append_message_anew(
        &mut self,
        from: Place,
        holders: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Place {
        let place = self.append_bytes_anew(holders, encode);
        let mut log = self.engine.log.lock();
        (0..holders).for_each(|_| log.let_go(from));
        place
    }

    /// Of each message stored at one of these places one holder has let go.
    pub fn let_go(&mut self, places: impl IntoIterator<Item = Place>) {
        let mut places = places.into_iter().peekable();
        while places.peek().is_some() {
            let mut log = self.engine.log.lock();
            places.by_ref().take(LET_GO_PER_LOCK).for_each(|place| log.let_go(place));
        }
    }

    /// All that was appended until now is durable when [`crate::Store::durable`] has reached this.
    pub fn end(&self) -> Place {
        // Nobody else moves it during the turn.
        self.end.unwrap_or_else(|| self.engine.log.lock().end())
    }

    fn append_bytes_anew(&mut self, holders: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Place {
        let engine = self.engine;
        let mut log = engine.log.lock();
        let place = engine.append_bytes(&mut log, holders, encode);
        let end = log.end();
        let bytes = end.number() - place.number();
        self.end = Some(end);
        engine.counters.bytes_cleaned.fetch_add(bytes, Relaxed);
        self.wake |= log.dawdle(place, Instant::now);
        place
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        drop(self.turn.take());
        if self.wake {
            self.engine.wake();
        }
    }
}
