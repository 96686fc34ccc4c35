use crate::engine::Engine;
use crate::segment::Segment;

/// What tidying up needs of the log: to see the oldest segment, and to let it go.
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

    /// The segment, always the oldest, is removed as soon as everything that has been appended is
    /// synced.
    pub fn retire(&self, number: u32) {
        let once = {
            let mut log = self.log.lock();
            if log.pending_bytes() > 0 {
                log.hurry();
            }
            log.end()
        };
        self.retiring.lock().push((number, once));
        self.wake();
    }
}
