//! Giving back the space of what nobody needs any more.
//!
//! Segments go strictly in the order in which they were written. Before one does, what is still held
//! in it is written anew at the end of the log: messages with those who hold them now, and the
//! sessions whose record is in it, as they are now. Nothing else is missed: the last record of a
//! session is never in a segment before this one, so it has what is said here of the session, unless
//! it stands in this segment itself; then it is written anew and has it too. What is settled, cleared
//! or over is not written any more. A crash in between leaves both, and the later one wins.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use gateway_model::Topic;
use smallvec::SmallVec;

use crate::decode::{FirstHolders, Outline, Replayed};
use crate::engine::Engine;
use crate::recovery::Contents;
use crate::segment::{self, Segment};
use crate::{Appending, Copy, Damage, Damaged, Delayed, Holder, Holders, Place, Record, batch, frame};

/// Publishers wait for so many records at a time at most.
const RECORDS_PER_TURN: usize = 256;
/// So many segments are no waste.
const SEGMENTS_MIN: usize = 4;
/// A disk that does not give something back now may do so later. Not for ever, or the log could only
/// grow.
const READ_ATTEMPTS: u32 = 3;

/// Goes through the log again and again, whenever it pays.
#[derive(Default)]
pub(crate) struct Cleaner {
    pass: Option<Pass>,
    floor: Floor,
    /// The segment that could not be read, and how often.
    attempts: (u32, u32),
}

/// What a pass wrote besides held messages: another one would not free that.
#[derive(Clone, Copy, Default)]
struct Floor {
    /// What is there for every session, as long as it is not over.
    sessions: u64,
    session_bytes: u64,
    /// How many had ever ended when the pass was over.
    ended: u64,
    /// Headers.
    other_bytes: u64,
}

/// Once from the oldest segment to the one that was written to when it began.
struct Pass {
    until: u32,
    force: Option<Force>,
    walk: Option<Walk>,
    /// Sessions that have been written anew.
    sessions: HashSet<u64>,
    session_bytes: u64,
    turns: u64,
}

/// Of a pass that is gone through whether it pays or not.
#[derive(Clone, Copy)]
struct Force {
    /// Whether what the disk does not give back may go with its segment.
    discards_unreadable: bool,
}

/// How a pass goes on.
enum Next {
    Segment(Walk),
    /// It has been through everything.
    Through,
    NotNow,
}

/// Through one segment.
struct Walk {
    contents: Contents,
    /// Where its frames begin, and how long they are.
    frames: std::vec::IntoIter<(u32, u32)>,
}

/// What the segments are good for.
struct Worth {
    oldest: Option<(u32, Segment)>,
    segments: usize,
    used_bytes: u64,
    live_bytes: u64,
    /// The log cannot grow any more.
    is_short: bool,
    /// What still fits into it then.
    room_bytes: u64,
}

impl Cleaner {
    /// Does a small part of what there is to do. Whether there is more; a segment that cannot be read waits
    /// for another time.
    pub fn step(&mut self, engine: &Engine, holders: &dyn Holders) -> bool {
        match self.try_step(engine, holders) {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "the oldest segment of the store cannot be read, and so not be freed");
                self.pass = None;
                false
            }
        }
    }

    /// Whatever is held now is to be written anew, and all segments of now are to go, also one that cannot be
    /// read if the caller has agreed to that.
    pub fn force(&mut self, engine: &Engine, discards_unreadable: bool) {
        self.pass = Some(Pass::begin(engine, Some(Force { discards_unreadable })));
    }

    /// As [`Cleaner::step`]; if a segment cannot be read that ends the pass.
    pub fn try_step(&mut self, engine: &Engine, holders: &dyn Holders) -> io::Result<bool> {
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None if self.pays(engine) => Pass::begin(engine, None),
            None => return Ok(false),
        };
        let mut walk = match pass.walk.take() {
            Some(walk) => walk,
            None => match self.next(engine, &pass)? {
                Next::Segment(walk) => walk,
                // Much may have come and gone since it began.
                Next::Through => return Ok(self.pays(engine)),
                Next::NotNow => return Ok(false),
            },
        };
        pass.clean(engine, holders, &mut walk);
        if walk.frames.len() > 0 {
            pass.walk = Some(walk);
        } else {
            engine.retire(walk.contents.number);
        }
        self.pass = Some(pass);
        Ok(true)
    }

    /// Whether it is worth to begin a pass: after one it is not before much has changed, so where
    /// nothing happens nothing is written.
    fn pays(&self, engine: &Engine) -> bool {
        let worth = Worth::of(engine);
        let gain = self.gain(engine, &worth);
        if worth.is_short {
            return gain >= u64::from(engine.options.segment_bytes) / 2;
        }
        worth.segments >= SEGMENTS_MIN && gain * 2 > worth.used_bytes
    }

    fn gain(&self, engine: &Engine, worth: &Worth) -> u64 {
        let ended = engine.counters.ended.load(Relaxed) - self.floor.ended;
        let floor = self.floor.bytes(ended);
        worth.used_bytes.saturating_sub(worth.live_bytes).saturating_sub(floor)
    }

    /// The next segment of the pass, if it is to go on.
    fn next(&mut self, engine: &Engine, pass: &Pass) -> io::Result<Next> {
        let worth = Worth::of(engine);
        let Some((number, oldest)) = worth.oldest.filter(|(number, _)| *number < pass.until) else {
            self.floor = Floor::of(pass, engine.counters.ended.load(Relaxed), worth.segments as u64 + 1);
            return Ok(Next::Through);
        };
        let is_written = engine.durable().segment() > number;
        // What would not fit would be in the way of what makes room.
        let fits = !worth.is_short || oldest.live_bytes() <= worth.room_bytes;
        let pays = pass.force.is_some() || worth.is_short || self.gain(engine, &worth) * 4 > worth.used_bytes;
        if !(is_written && fits && pays) {
            return Ok(Next::NotNow);
        }
        let contents = self.load(engine, number, pass.force)?;
        let salt = engine.log.lock().salt();
        let frames = contents.frames(salt).map(|(at, length)| (at as u32, length as u32));
        let frames: Vec<_> = frames.collect();
        tell_damage(engine, number, contents.damaged_bytes(salt, oldest.used, &frames));
        Ok(Next::Segment(Walk { contents, frames: frames.into_iter() }))
    }

    /// The bytes of a segment: whole, or what is left when it has been read often enough.
    fn load(&mut self, engine: &Engine, number: u32, force: Option<Force>) -> io::Result<Contents> {
        // Nobody comes back later for a pass that is forced.
        let (attempts, may_give_up) = match force {
            Some(Force { discards_unreadable }) => (READ_ATTEMPTS, discards_unreadable),
            None => (1, true),
        };
        for _ in 0..attempts {
            let contents = Contents::load(&*engine.files, number)?;
            if contents.is_whole() || self.give_up(number) && may_give_up {
                return Ok(contents);
            }
        }
        Err(io::Error::other(format!("parts of {} are unreadable", segment::name(number))))
    }

    fn give_up(&mut self, number: u32) -> bool {
        let (before, attempts) = self.attempts;
        self.attempts = (number, if before == number { attempts + 1 } else { 1 });
        self.attempts.1 >= READ_ATTEMPTS
    }
}

impl Floor {
    fn of(pass: &Pass, ended: u64, segments: u64) -> Self {
        // The record that another one has gone is a batch for itself.
        let segment = segment::HEADER + 2 * (batch::HEADER + frame::OVERHEAD);
        Self {
            sessions: pass.sessions.len() as u64,
            session_bytes: pass.session_bytes,
            ended,
            other_bytes: pass.turns * batch::HEADER as u64 + segments * segment as u64,
        }
    }

    /// When so many sessions have ended since.
    fn bytes(&self, ended: u64) -> u64 {
        let left = self.sessions.saturating_sub(ended);
        self.session_bytes / self.sessions.max(1) * left + self.other_bytes
    }
}

impl Pass {
    fn begin(engine: &Engine, force: Option<Force>) -> Self {
        let until = engine.log.lock().end().segment();
        Self { until, force, walk: None, sessions: HashSet::new(), session_bytes: 0, turns: 0 }
    }

    /// Some records further, in one turn.
    fn clean(&mut self, engine: &Engine, holders: &dyn Holders, walk: &mut Walk) {
        self.turns += 1;
        let mut appending = engine.begin();
        for (at, length) in walk.frames.by_ref().take(RECORDS_PER_TURN) {
            let place = Place::new(walk.contents.number, at);
            let record = &walk.contents.bytes[at as usize + frame::OVERHEAD..(at + length) as usize];
            match Record::decode_replayed(record) {
                Ok(Replayed::Message(outline)) => {
                    move_message(place, record, outline, holders, &mut appending);
                }
                Ok(Replayed::Other(Record::Session(record))) => {
                    self.session(record.number, holders, &mut appending);
                }
                Ok(Replayed::Other(_)) => {}
                // It was set aside at the start.
                Err(_) => {}
            }
        }
    }

    fn session(&mut self, number: u64, holders: &dyn Holders, appending: &mut Appending<'_>) {
        if self.sessions.insert(number)
            && let Some(session) = holders.session(number)
        {
            self.session_bytes += appending.append_anew(&Record::Session(Box::new(session)));
        }
    }
}

impl Worth {
    fn of(engine: &Engine) -> Self {
        let segments = engine.segments();
        let log = engine.log.lock();
        let sum = |bytes: fn(&Segment) -> u64| segments.iter().map(|(_, segment)| bytes(segment)).sum();
        Self {
            oldest: segments.first().copied(),
            segments: segments.len(),
            used_bytes: sum(|segment| segment.used.into()),
            live_bytes: sum(Segment::live_bytes),
            is_short: log.is_short(),
            room_bytes: log.room_bytes(),
        }
    }
}

/// What has been damaged since the start is lost with its segment.
fn tell_damage(engine: &Engine, number: u32, bytes: u64) {
    let of_this = engine.damaged.iter().filter(|damaged| damaged.segment == number);
    // A record of an unknown kind is a frame that verifies.
    let known = of_this.filter(|damaged| damaged.why != Damage::Unknown).map(Damaged::bytes);
    let bytes = bytes.saturating_sub(known.sum());
    if bytes > 0 {
        engine.counters.damaged_ranges.fetch_add(1, Relaxed);
        engine.counters.damaged_bytes.fetch_add(bytes, Relaxed);
        let name = segment::name(number);
        tracing::error!(bytes, "{name} has been damaged since the start; what was in these bytes is lost");
    }
}

/// Writes a message anew if somebody holds it, and tells them.
fn move_message(
    from: Place,
    record: &[u8],
    outline: Outline,
    holders: &dyn Holders,
    appending: &mut Appending<'_>,
) {
    let Outline { topic, holders: FirstHolders { copies, delayed, .. }, message_len, .. } = outline;
    let held_copy = |mut copy: Copy| {
        copy.state = holders.holds(holder_of(&copy), from)?;
        Some(copy)
    };
    let copies: SmallVec<[Copy; 1]> = copies.into_iter().filter_map(held_copy).collect();
    let topic = topic.filter(|topic| holders.holds(Holder::Retained(topic), from).is_some());
    let delayed = delayed.filter(|delayed| holders.holds(holder_of_delayed(delayed), from).is_some());
    let count = copies.len() + usize::from(topic.is_some()) + usize::from(delayed.is_some());
    if count == 0 {
        return;
    }
    let kept = FirstHolders { copies, delayed, held: None };
    let encode = |into: &mut Vec<u8>| {
        Record::encode_anew(record, message_len, topic.is_some(), &kept, into);
    };
    let to = appending.append_message_anew(from, count, encode);
    kept.copies.iter().for_each(|copy| holders.moved(holder_of(copy), from, to));
    topic.iter().for_each(|topic: &Topic| holders.moved(Holder::Retained(topic), from, to));
    delayed.iter().for_each(|delayed| holders.moved(holder_of_delayed(delayed), from, to));
}

fn holder_of(copy: &Copy) -> Holder<'static> {
    Holder::Copy { session: copy.session, ordinal: copy.ordinal }
}

fn holder_of_delayed(delayed: &Delayed) -> Holder<'static> {
    Holder::Delayed { serial: delayed.serial }
}
