//! Finding again what is in the log.
//!
//! Batches say up to where the log had been synced when they were written. What is invalid before
//! such a place has been damaged: it is set aside, the file is left as it is, and whatever verifies
//! around it is used. What is invalid after the last such place was being written when the power
//! went: the log ends there, and nobody has been told of more.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::files::{File, Files};
use crate::retiring::Oldest;
use crate::segment::{self, Segment};
use crate::{Image, Place, batch, frame};

/// What a log was found to be.
pub(crate) struct Recovered {
    pub salt: u32,
    pub segments: BTreeMap<u32, Segment>,
    /// The segment to be appended to: it has nothing in it, or is still to be made.
    pub next: u32,
    /// Where the segment before that ends.
    pub end: Place,
    pub damaged: Vec<Damaged>,
    /// Where the log was cut, if something unfinished was behind.
    pub torn: Option<Place>,
}

impl Recovered {
    /// Counts who holds what.
    pub fn count(&mut self, holds: impl Iterator<Item = Place>) {
        for place in holds {
            if let Some(segment) = self.segments.get_mut(&place.segment()) {
                segment.holders += 1;
            }
        }
    }
}

/// Bytes that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub segment: u32,
    pub range: Range<u64>,
    pub why: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The whole file is gone, and as many behind it as make so many.
    Missing { files: u32 },
    /// The disk does not give it back.
    Unreadable,
    /// The checksum is wrong.
    Checksum,
    /// It is as it was written, and yet no record that this program knows.
    Unknown,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the store was written by a newer version (format {found}, this one knows {}); start that version, \
         or give this one another directory",
        segment::VERSION
    )]
    Newer { found: u32 },
    #[error("{name} belongs to another store than the files before it; nothing was changed")]
    Mixed { name: String },
    #[error("the store's directory cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("the store's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Who is told what the log has, in order.
pub(crate) trait Replay {
    /// The bytes of a record. How many hold the message in it in the beginning, or `None` if it is
    /// no record.
    fn replay(&mut self, place: Place, record: &[u8]) -> Option<usize>;
}

impl Replay for Image {
    fn replay(&mut self, place: Place, record: &[u8]) -> Option<usize> {
        Image::replay(self, place, record).inspect_err(|error| tracing::error!(%place, "{error}")).ok()
    }
}

/// Reads the whole log, and leaves it so that it can be appended to.
pub(crate) fn recover(files: &dyn Files, replay: &mut dyn Replay) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery::begin(files, replay)?;
    recovery.walk()?;
    recovery.check_begin();
    recovery.finish()
}

/// Reads the whole log and leaves it as it is.
pub(crate) fn look(files: &dyn Files, replay: &mut dyn Replay) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery::begin(files, replay)?;
    recovery.walk()?;
    recovery.check_begin();
    Ok(recovery.recovered())
}

struct Recovery<'a> {
    files: &'a dyn Files,
    replay: &'a mut dyn Replay,
    salt: Option<u32>,
    numbers: Vec<u32>,
    segments: BTreeMap<u32, Segment>,
    damaged: Vec<Damaged>,
    /// Everything before is known to have been synced.
    proved: Place,
    /// The same, according to the batches that are whole.
    synced: Place,
    /// The segments before have been removed because nobody needed them.
    oldest: u32,
    /// Where the log ends: behind the last frame, or where it was torn.
    end: Place,
    torn: bool,
    /// The batch that it was torn in, without what is cut off.
    shortened: Option<batch::Header>,
}

impl<'a> Recovery<'a> {
    fn begin(files: &'a dyn Files, replay: &'a mut dyn Replay) -> Result<Self, OpenError> {
        let mut numbers: Vec<u32> =
            files.list()?.iter().filter_map(|name| segment::number_of(name)).collect();
        numbers.sort_unstable();
        let mut salt = None;
        for &number in &numbers {
            let mut bytes = [0; segment::HEADER];
            let header = open(files, number).and_then(|file| file.read_at(&mut bytes, 0));
            let Some(header) = header.ok().and_then(|_| segment::Header::decode(&bytes)) else { continue };
            if header.version > segment::VERSION {
                return Err(OpenError::Newer { found: header.version });
            }
            if *salt.get_or_insert(header.salt) != header.salt {
                return Err(OpenError::Mixed { name: segment::name(number) });
            }
        }
        let mut recovery = Self {
            files,
            replay,
            salt,
            numbers,
            segments: BTreeMap::new(),
            damaged: Vec::new(),
            proved: Place::NOWHERE,
            synced: Place::NOWHERE,
            oldest: segment::FIRST,
            end: Place::NOWHERE,
            torn: false,
            shortened: None,
        };
        if recovery.salt.is_none() {
            recovery.salt = recovery.numbers.iter().find_map(|number| {
                let contents = Contents::load(files, *number).ok()?;
                Some(batch::Header::find(&contents.bytes, *number, 0, None)?.salt)
            });
        }
        Ok(recovery)
    }

    fn salt(&self) -> u32 {
        self.salt.unwrap_or(0)
    }

    fn walk(&mut self) -> Result<(), OpenError> {
        let mut index = 0;
        while let Some(&number) = self.numbers.get(index) {
            let before = index.checked_sub(1).map(|index| self.numbers[index]);
            let expected = before.map_or(number, |before| before + 1);
            let contents = Contents::load(self.files, number)?;
            if expected < number {
                // No file is made before the one in front of it is there for good, or removed before
                // the one behind is gone for good.
                let start = Place::new(expected, 0);
                if !contents.has_header(self.salt()) && !self.is_proved(start, None) {
                    self.tear(start);
                    return Ok(());
                }
                self.set_aside(expected, 0..0, Damage::Missing { files: number - expected });
            }
            self.check_end(&contents);
            if !self.walk_segment(&contents) {
                return Ok(());
            }
            index += 1;
        }
        Ok(())
    }

    /// Before a segment goes the log says so.
    fn check_begin(&mut self) {
        let Some(&first) = self.segments.keys().next() else { return };
        if first > self.oldest {
            let why = Damage::Missing { files: first - self.oldest };
            self.damaged.insert(0, Damaged { segment: self.oldest, range: 0..0, why });
        }
    }

    /// The segment before this one should have reached as far as the first batch in this one says.
    fn check_end(&mut self, contents: &Contents) {
        let Some(first) = contents.find(0, self.salt()) else { return };
        let Some(segment) = self.segments.get_mut(&first.synced.segment()) else { return };
        let reached = segment.used;
        if first.synced.segment() < contents.number && first.synced.offset() > reached {
            segment.used = first.synced.offset();
            let range = reached.into()..first.synced.offset().into();
            self.set_aside(first.synced.segment(), range, Damage::Checksum);
        }
    }

    /// Whether the log goes on behind the segment.
    fn walk_segment(&mut self, contents: &Contents) -> bool {
        let number = contents.number;
        let size = contents.bytes.len() as u64;
        if !contents.has_header(self.salt()) {
            let start = Place::new(number, 0);
            // No batch is written before the header is synced.
            let is_used =
                contents.find(0, self.salt()).is_some() || contents.is_unreadable(&(0..segment::HEADER));
            if !is_used && !self.is_proved(start, Some(contents)) {
                self.tear(start);
                return false;
            }
            self.set_aside_of(contents, 0..segment::HEADER.min(contents.bytes.len()));
        }
        let used = segment::HEADER as u32;
        self.segments.insert(number, Segment { size, used, ..Segment::default() });
        let mut at = segment::HEADER;
        loop {
            if let Some(batch) = contents.batch_at(at, self.salt()) {
                if !self.walk_frames(contents, batch.frames(), false) {
                    self.shorten(batch);
                    return false;
                }
                at = batch.frames().end;
                self.synced = self.synced.max(batch.synced);
            } else {
                let next = contents.find(at, self.salt());
                let invalid_until = next.map_or_else(|| contents.last_byte(), |next| next.offset as usize);
                if invalid_until <= at {
                    return true;
                }
                let here = Place::new(number, at as u32);
                if !contents.is_unreadable(&(at..invalid_until)) && !self.is_proved(here, Some(contents)) {
                    self.tear(here);
                    return false;
                }
                self.walk_frames(contents, at..invalid_until, true);
                at = invalid_until;
            }
            self.reached(number, at);
        }
    }

    /// Uses the frames in a range. Where one is invalid the log ends, unless it is proved to go on:
    /// then what is invalid is set aside. Whether the log goes on.
    fn walk_frames(&mut self, contents: &Contents, range: Range<usize>, mut proved: bool) -> bool {
        let salt = self.salt();
        let mut at = range.start;
        while at < range.end {
            let place = Place::new(contents.number, at as u32);
            if let Some(record) = frame::record(&contents.bytes[at..range.end], salt, place) {
                let length = frame::OVERHEAD + record.len();
                self.frame(place, record, length);
                at += length;
                self.reached(contents.number, at);
                continue;
            }
            // A torn write leaves other bytes, and not none.
            proved =
                proved || contents.is_unreadable(&(at..range.end)) || self.is_proved(place, Some(contents));
            if !proved {
                self.tear(place);
                return false;
            }
            let is_frame = |at: &usize| {
                let place = Place::new(contents.number, *at as u32);
                frame::record(&contents.bytes[*at..range.end], salt, place).is_some()
            };
            let until = (at + 1..range.end).find(is_frame).unwrap_or(range.end);
            self.set_aside_of(contents, at..until);
            at = until;
        }
        true
    }

    fn frame(&mut self, place: Place, record: &[u8], length: usize) {
        if let Some(Oldest(number)) = Oldest::decode(record) {
            self.oldest = self.oldest.max(number);
            return;
        }
        let Some(holders) = self.replay.replay(place, record) else {
            let range = place.offset().into()..u64::from(place.offset()) + length as u64;
            self.set_aside(place.segment(), range, Damage::Unknown);
            return;
        };
        if holders > 0 {
            let segment = self.segments.entry(place.segment()).or_default();
            segment.message_bytes += length as u64;
            segment.holders_ever += holders as u64;
        }
    }

    fn reached(&mut self, number: u32, at: usize) {
        self.end = Place::new(number, at as u32);
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.used = at as u32;
        }
    }

    /// Whether something behind a place proves that everything up to beyond it had been synced.
    fn is_proved(&mut self, place: Place, contents: Option<&Contents>) -> bool {
        // Where much is damaged the same proof serves for all of it.
        if place >= self.proved {
            self.proved = self.proof(place, contents).unwrap_or(self.proved);
        }
        place < self.proved
    }

    fn proof(&self, place: Place, contents: Option<&Contents>) -> Option<Place> {
        let salt = self.salt();
        let proof = |contents: &Contents, mut from: usize| {
            while let Some(header) = contents.find(from, salt) {
                if header.synced > place {
                    return Some(header.synced);
                }
                from = header.offset as usize + 1;
            }
            None
        };
        let here = contents.and_then(|contents| proof(contents, place.offset() as usize));
        here.or_else(|| {
            let behind = self.numbers.iter().filter(|number| **number > place.segment());
            behind.copied().find_map(|number| proof(&Contents::load(self.files, number).ok()?, 0))
        })
    }

    fn tear(&mut self, place: Place) {
        self.end = place;
        self.torn = true;
    }

    /// Nothing of a batch counts from the end of the log on.
    fn shorten(&mut self, mut batch: batch::Header) {
        batch.length = self.end.offset() - batch.frames().start as u32;
        if batch.length == 0 {
            self.end = Place::new(batch.segment, batch.offset);
        } else {
            self.shortened = Some(batch);
        }
    }

    fn set_aside_of(&mut self, contents: &Contents, range: Range<usize>) {
        let why = if contents.is_unreadable(&range) { Damage::Unreadable } else { Damage::Checksum };
        self.set_aside(contents.number, range.start as u64..range.end as u64, why);
    }

    fn set_aside(&mut self, segment: u32, range: Range<u64>, why: Damage) {
        if let Some(last) = self.damaged.last_mut()
            && last.segment == segment
            && last.range.end == range.start
            && last.why == why
        {
            last.range.end = range.end;
            return;
        }
        self.damaged.push(Damaged { segment, range, why });
    }

    /// Cuts what is torn off, and makes sure that what was read stays: whoever wrote it may have been
    /// killed before it was synced.
    fn finish(mut self) -> Result<Recovered, OpenError> {
        // From the end on: if this is interrupted, what is left ends at the same place.
        for &number in self.numbers.iter().rev() {
            let used = self.segments.get(&number).map_or(0, |segment| segment.used);
            let behind = number > self.end.segment();
            let empty = used <= segment::HEADER as u32;
            if behind && empty && !self.torn {
                // Made ahead, and still good: but its header may be all that there is of the making.
                keep(&*open(self.files, number)?, 0..segment::HEADER as u64)?;
                continue;
            }
            if !(behind || self.torn && number == self.end.segment() && empty) {
                break;
            }
            self.files.remove(&segment::name(number)).map_err(|error| named(number, error))?;
            self.files.sync_names()?;
            self.segments.remove(&number);
        }
        self.trim()?;
        if !self.numbers.is_empty() {
            self.files.sync_names()?;
        }
        Ok(self.recovered())
    }

    fn recovered(self) -> Recovered {
        let next = self.next();
        let last = self.segments.range(..next).next_back();
        Recovered {
            next,
            end: last.map_or(Place::NOWHERE, |(number, segment)| Place::new(*number, segment.used)),
            salt: self.salt.unwrap_or_else(|| self.files.salt()),
            segments: self.segments,
            torn: self.torn.then_some(self.end),
            damaged: self.damaged,
        }
    }

    /// The last segment with something in it is not appended to any more.
    fn trim(&mut self) -> io::Result<()> {
        let has_content = |segment: &Segment| segment.used > segment::HEADER as u32;
        let last = self.segments.iter_mut().rfind(|(_, segment)| has_content(segment));
        let Some((&number, segment)) = last else { return Ok(()) };
        let file = open(self.files, number)?;
        if let Some(batch) = self.shortened.filter(|batch| batch.segment == number) {
            file.write_at(&batch.encode(), batch.offset.into())?;
        }
        // The log may end behind it, in a segment that had nothing yet.
        if self.end.segment() == number {
            segment.used = self.end.offset();
        }
        // If damage has cut it, nothing is put in the place of what is gone.
        if segment.size > segment.used.into() {
            segment.size = segment.used.into();
            file.truncate(segment.size)?;
        }
        let synced = if self.synced.segment() == number { self.synced.offset() } else { 0 };
        keep(&*file, synced.into()..segment.used.into())
    }

    /// Behind the last segment that has something in it.
    fn next(&self) -> u32 {
        let first = || self.segments.keys().next().copied().unwrap_or(segment::FIRST);
        match self.end {
            Place::NOWHERE => first(),
            end if self.torn && end.offset() <= segment::HEADER as u32 => end.segment(),
            end => end.segment() + 1,
        }
    }
}

fn open(files: &dyn Files, number: u32) -> io::Result<Arc<dyn File>> {
    files.open(&segment::name(number)).map_err(|error| named(number, error))
}

/// Makes sure that what was read from these bytes stays. After a sync that failed the system may take for
/// written what the disk never got, and whoever knew is gone: a sync alone would do nothing.
fn keep(file: &dyn File, range: Range<u64>) -> io::Result<()> {
    if let Err(error) = write_again(file, range) {
        // A file system that copies on writing may have no room for it.
        tracing::warn!(%error, "the end of the store could not be written again, and is only synced");
    }
    file.sync()
}

fn write_again(file: &dyn File, range: Range<u64>) -> io::Result<()> {
    let mut bytes = [0; PIECE];
    for start in range.clone().step_by(PIECE) {
        let piece = &mut bytes[..PIECE.min((range.end - start) as usize)];
        // What cannot be read has been set aside.
        if let Ok(read) = file.read_at(piece, start) {
            file.write_at(&piece[..read], start)?;
        }
    }
    Ok(())
}

/// An error that says in which file.
fn named(number: u32, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", segment::name(number)))
}

/// The bytes of a segment; those that the disk does not give back are zeros.
pub(crate) struct Contents {
    pub number: u32,
    pub bytes: Vec<u8>,
    unreadable: Vec<Range<usize>>,
}

/// Unreadable bytes are searched for in pieces of this size.
const PIECE: usize = 4096;

impl Contents {
    pub fn load(files: &dyn Files, number: u32) -> io::Result<Self> {
        let file = open(files, number)?;
        let size = usize::try_from(file.size()?).unwrap_or(usize::MAX).min(u32::MAX as usize);
        let mut contents = Self { number, bytes: vec![0; size], unreadable: Vec::new() };
        if file.read_at(&mut contents.bytes, 0).is_err() {
            for start in (0..size).step_by(PIECE) {
                let range = start..size.min(start + PIECE);
                if file.read_at(&mut contents.bytes[range.clone()], start as u64).is_err() {
                    contents.bytes[range.clone()].fill(0);
                    contents.unreadable.push(range);
                }
            }
        }
        Ok(contents)
    }

    /// Whether the disk gave everything back.
    pub fn is_whole(&self) -> bool {
        self.unreadable.is_empty()
    }

    fn has_header(&self, salt: u32) -> bool {
        let header = segment::Header::decode(&self.bytes);
        header.is_some_and(|header| header.number == self.number && header.salt == salt)
    }

    fn is_unreadable(&self, range: &Range<usize>) -> bool {
        self.unreadable.iter().any(|bad| bad.start < range.end && range.start < bad.end)
    }

    fn batch_at(&self, offset: usize, salt: u32) -> Option<batch::Header> {
        let header = batch::Header::decode(&self.bytes, self.number, offset)?;
        (header.salt == salt).then_some(header)
    }

    fn find(&self, from: usize, salt: u32) -> Option<batch::Header> {
        batch::Header::find(&self.bytes, self.number, from, Some(salt))
    }

    /// Where the frames that verify are, in order, and their lengths. What is between is skipped.
    pub fn frames(&self, salt: u32) -> impl Iterator<Item = (usize, usize)> {
        let end = self.last_byte();
        let mut at = segment::HEADER;
        std::iter::from_fn(move || {
            while at < end {
                if let Some(header) = self.batch_at(at, salt) {
                    at = header.frames().start;
                }
                let place = Place::new(self.number, at as u32);
                if let Some(record) = frame::record(&self.bytes[at..], salt, place) {
                    let frame = (at, frame::OVERHEAD + record.len());
                    at += frame.1;
                    return Some(frame);
                }
                at += 1;
            }
            None
        })
    }

    /// How many bytes in use are neither of frames that verify nor of headers. `frames` are those.
    pub fn damaged_bytes(&self, salt: u32, used: u32, frames: &[(u32, u32)]) -> u64 {
        let has_batch = |frame: &&(u32, u32)| {
            let before = (frame.0 as usize).checked_sub(batch::HEADER);
            before.is_some_and(|before| self.batch_at(before, salt).is_some())
        };
        let headers = segment::HEADER + batch::HEADER * frames.iter().filter(has_batch).count();
        let whole: u64 = frames.iter().map(|frame| u64::from(frame.1)).sum();
        u64::from(used).saturating_sub(headers as u64 + whole)
    }

    /// Behind the last byte that is not zero.
    fn last_byte(&self) -> usize {
        let written = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.unreadable.last().map_or(written, |range| range.end.max(written))
    }
}

impl Damaged {
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = segment::name(self.segment);
        let Range { start, end } = self.range;
        match self.why {
            Damage::Missing { files: 1 } => write!(f, "{name} is missing; what was in it is lost"),
            Damage::Missing { files } => {
                write!(f, "{files} files from {name} on are missing; what was in them is lost")
            }
            Damage::Unreadable => write!(f, "{name}: bytes {start} to {end} cannot be read"),
            Damage::Checksum => write!(f, "{name}: bytes {start} to {end} are damaged"),
            Damage::Unknown => write!(f, "{name}: bytes {start} to {end} are no record that is known here"),
        }
    }
}
