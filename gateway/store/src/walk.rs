use std::io;

use crate::engine::Engine;
use crate::recovery::Contents;
use crate::segment::Segment;
use crate::{Place, frame};

/// What tidying up needs of the log: to see the oldest segment, and to let it go.
#[allow(dead_code, reason = "the walk through the oldest segment is on its way")]
impl Engine {
    /// All segments but the one that is appended to, the oldest first. The first one has to go first.
    pub fn segments(&self) -> Vec<(u32, Segment)> {
        let log = self.log.lock();
        let current = log.end().segment();
        let retiring = self.retiring.lock();
        let last = retiring.last().map_or(0, |(number, _)| *number);
        let segments = log.segments.iter().filter(|(number, _)| **number > last && **number < current);
        segments.map(|(number, segment)| (*number, *segment)).collect()
    }

    /// Calls `see` with every record that is whole in a segment, in order, as long as it says so.
    /// The segment must not be one that is still written to.
    pub fn walk(&self, number: u32, mut see: impl FnMut(Place, &[u8]) -> bool) -> io::Result<()> {
        let salt = self.log.lock().salt();
        let contents = Contents::load(&*self.files, number)?;
        for (at, length) in contents.frames(salt) {
            let record = &contents.bytes[at + frame::OVERHEAD..at + length];
            if !see(Place::new(number, at as u32), record) {
                break;
            }
        }
        Ok(())
    }

    /// The segment, always the oldest, is removed as soon as everything before `once` is synced.
    pub fn retire(&self, number: u32, once: Place) {
        self.retiring.lock().push((number, once));
        self.wake();
    }
}
