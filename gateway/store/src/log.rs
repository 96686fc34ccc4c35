use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::batch::{self, Batch};
use crate::segment::{self, Segment};
use crate::{Place, frame};

/// The end of the log: what has been appended and is not yet written, and what is known of the
/// segments.
///
/// Places are given out here, whatever the disk does: what cannot be written now is written there
/// later.
pub(crate) struct Log {
    salt: u32,
    segment_bytes: u32,
    /// The segment that is appended to, the next byte in it, and its size.
    segment: u32,
    next: u32,
    size: u32,
    /// Behind the last frame.
    end: Place,
    /// Full or left, because a frame did not fit behind; the oldest first.
    closed: VecDeque<Batch>,
    open: Option<Batch>,
    /// With the committer.
    flying: Vec<Arc<Batch>>,
    buffers: Vec<Vec<u8>>,
    pending_bytes: u64,
    lazy_bytes: usize,
    /// Another segment could not be made.
    no_space: bool,
    pub urgent: bool,
    pub lazy_since: Option<Instant>,
    pub segments: BTreeMap<u32, Segment>,
}

/// Appended lazily, so much is worth a write of its own.
const LAZY_BYTES_MAX: usize = 64 * 1024;
/// Buffers that have grown beyond this are not kept for the next batch.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;
const BUFFERS_KEPT: usize = 2;

impl Log {
    /// Appends to a segment that has nothing in it, or is still to be made.
    pub fn new(salt: u32, segment_bytes: u32, segment: u32, segments: BTreeMap<u32, Segment>) -> Self {
        let size = segments.get(&segment).map_or(segment_bytes, |segment| segment.size as u32);
        let end = Place::new(segment, segment::HEADER as u32);
        Self {
            salt,
            segment_bytes,
            segment,
            next: end.offset(),
            size,
            end,
            closed: VecDeque::new(),
            open: None,
            flying: Vec::new(),
            buffers: Vec::new(),
            pending_bytes: 0,
            lazy_bytes: 0,
            no_space: false,
            urgent: false,
            lazy_since: None,
            segments,
        }
    }

    pub fn end(&self) -> Place {
        self.end
    }

    pub fn salt(&self) -> u32 {
        self.salt
    }

    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// The segment to be made ahead, if it is time: two, the second when half of the current one is
    /// used. None before the one in front of it.
    pub fn wanted(&self) -> Option<u32> {
        let pending = self.flying.iter().map(|batch| &**batch).chain(&self.closed).map(|batch| batch.segment);
        let first = pending.min().unwrap_or(self.segment);
        let missing = (first..).find(|number| !self.exists(*number))?;
        let due = match missing.saturating_sub(self.segment) {
            0 | 1 => true,
            2 => self.next > self.size / 2,
            _ => false,
        };
        due.then_some(missing)
    }

    /// A segment has its file, or has been left without.
    pub fn made(&mut self, number: u32, size: u64) {
        let segment = self.segments.entry(number).or_default();
        segment.size = segment.size.max(size);
    }

    pub fn set_no_space(&mut self, no_space: bool) {
        self.no_space = no_space;
    }

    /// There is no space for another segment, and what is left is kept for settlements and for
    /// tidying up: writing anew what is held in the oldest segment may take a whole one.
    pub fn is_full(&self) -> bool {
        if !self.no_space {
            // What every append asks is not searched for among the segments.
            return false;
        }
        let left = self.size - self.next.min(self.size);
        match (self.segment..).take_while(|number| self.exists(*number)).count() {
            0 | 1 => true,
            2 => left < self.size / 4,
            _ => false,
        }
    }

    /// There is no space for another segment.
    pub fn is_short(&self) -> bool {
        self.no_space
    }

    /// What can be appended without another segment.
    pub fn room_bytes(&self) -> u64 {
        let made = self.segments.range(self.segment..).map(|(_, segment)| segment.size);
        made.sum::<u64>().saturating_sub(self.next.into())
    }

    pub fn exists(&self, number: u32) -> bool {
        self.segments.get(&number).is_some_and(|segment| segment.size > 0)
    }

    pub fn bytes_on_disk(&self) -> u64 {
        self.segments.values().map(|segment| segment.size).sum()
    }

    /// Where the next record will be, if it has up to `bytes` bytes.
    pub fn reserve(&mut self, bytes: usize) -> Place {
        let needed = frame::OVERHEAD + bytes;
        let header = if self.open.is_some() { 0 } else { batch::HEADER };
        if self.next as usize + header + needed > self.size as usize {
            self.roll(needed);
        }
        let batch = self.opened();
        batch.end()
    }

    /// Appends what `encode` writes, one record that `holders` hold.
    pub fn append(&mut self, holders: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Place {
        if self.next as usize + batch::HEADER + frame::OVERHEAD >= self.size as usize && self.open.is_none() {
            self.roll(frame::OVERHEAD);
        }
        let batch = self.opened();
        let start = batch.bytes.len();
        frame::begin(&mut batch.bytes);
        encode(&mut batch.bytes);
        let length = batch.bytes.len() - start;
        let mut place = Place::new(batch.segment, batch.offset + start as u32);
        if place.offset() as usize + length > self.size as usize {
            place = self.carry_over(start);
        }
        let salt = self.salt;
        let batch = self.open.as_mut().expect("opened above");
        let start = batch.bytes.len() - length;
        frame::finish(&mut batch.bytes[start..], salt, place);
        self.end = batch.end();
        self.next = self.end.offset();
        self.pending_bytes += length as u64;
        let segment = self.segments.entry(self.segment).or_default();
        segment.used = self.next;
        if holders > 0 {
            segment.message_bytes += length as u64;
            segment.holders_ever += holders as u64;
            segment.holders += holders as u64;
        }
        place
    }

    /// Whether whoever writes has to hear of it.
    pub fn hurry(&mut self) -> bool {
        !std::mem::replace(&mut self.urgent, true)
    }

    /// What was just appended, from a place on, may wait. Whether whoever writes has to hear of it.
    pub fn dawdle(&mut self, from: Place, now: impl FnOnce() -> Instant) -> bool {
        self.lazy_bytes += self.end.number().saturating_sub(from.number()) as usize;
        if self.lazy_bytes >= LAZY_BYTES_MAX {
            return self.hurry();
        }
        let first = self.lazy_since.is_none();
        self.lazy_since.get_or_insert_with(now);
        first && !self.urgent
    }

    /// One holder of what is stored there has let go.
    pub fn let_go(&mut self, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment()) {
            segment.holders = segment.holders.saturating_sub(1);
        }
    }

    /// The segment of the next batch to be written, if there is any.
    pub fn next_segment(&self) -> Option<u32> {
        let open = self.open.as_ref().filter(|batch| !batch.is_empty());
        self.closed.front().or(open).map(|batch| batch.segment)
    }

    /// The next batch to be written, if there is any.
    pub fn take(&mut self, synced: Place) -> Option<Arc<Batch>> {
        let closed = self.closed.pop_front();
        let taken = closed.or_else(|| self.open.take_if(|batch| !batch.is_empty()));
        if self.closed.is_empty() && self.open.as_ref().is_none_or(Batch::is_empty) {
            self.urgent = false;
            self.lazy_bytes = 0;
            self.lazy_since = None;
        }
        let mut batch = taken?;
        batch.seal(self.salt, synced);
        let batch = Arc::new(batch);
        self.flying.push(Arc::clone(&batch));
        Some(batch)
    }

    /// A batch can be read from the disk from now on.
    pub fn landed(&mut self, batch: &Arc<Batch>) {
        self.flying.retain(|other| !Arc::ptr_eq(other, batch));
    }

    /// A batch is as durable as the settings promise.
    pub fn durable(&mut self, batch: &Batch) {
        self.pending_bytes -= (batch.bytes.len() - batch::HEADER) as u64;
    }

    /// The buffer of a batch that nobody needs any more.
    pub fn reuse(&mut self, batch: Arc<Batch>) {
        if let Ok(batch) = Arc::try_unwrap(batch)
            && batch.bytes.capacity() <= BUFFER_BYTES_KEPT
            && self.buffers.len() < BUFFERS_KEPT
        {
            self.buffers.push(batch.bytes);
        }
    }

    /// The frame at a place, if it is not yet on the disk. What has not left the memory is as it was
    /// appended.
    pub fn pending(&self, place: Place) -> Option<&[u8]> {
        let flying = self.flying.iter().map(|batch| &**batch);
        let bytes = flying.chain(&self.closed).chain(&self.open).find_map(|batch| batch.get(place))?;
        let length = frame::length(bytes, self.salt, place)?;
        bytes.get(..frame::OVERHEAD + length)
    }

    fn opened(&mut self) -> &mut Batch {
        let place = Place::new(self.segment, self.next);
        self.open.get_or_insert_with(|| {
            self.next += batch::HEADER as u32;
            Batch::new(place, self.size, self.buffers.pop().unwrap_or_default())
        })
    }

    /// Begins the next segment, with room for `needed` bytes of frames. If the current one has none
    /// yet it is made larger instead: a segment without a frame would look like one that is missing.
    fn roll(&mut self, needed: usize) {
        if self.end.segment() == self.segment && self.end.offset() > segment::HEADER as u32 {
            self.closed.extend(self.open.take().filter(|batch| !batch.is_empty()));
            self.segment += 1;
            self.next = segment::HEADER as u32;
        }
        let least = segment::HEADER + batch::HEADER + needed;
        let least = u32::try_from(least).expect("a record is below 4 GiB");
        let made = self.segments.get(&self.segment).map_or(0, |segment| segment.size as u32);
        self.size = least.max(self.segment_bytes).max(made);
        if let Some(batch) = &mut self.open {
            batch.segment_size = self.size;
        }
    }

    /// Moves the frame that begins at `start` of the open batch, and does not fit, to a new segment.
    fn carry_over(&mut self, start: usize) -> Place {
        let batch = self.open.as_mut().expect("a frame was begun in it");
        let tail = batch.bytes.split_off(start);
        self.roll(tail.len());
        let batch = self.opened();
        let place = batch.end();
        batch.bytes.extend_from_slice(&tail);
        place
    }
}
