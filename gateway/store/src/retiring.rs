use crate::engine::Engine;
use crate::kind::Kind;
use crate::segment::Segment;

/// A record of the log itself: segments before this one were removed because nobody needed them. If
/// another is missing, it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Oldest(pub u32);

impl Oldest {
    pub fn encode(self, into: &mut Vec<u8>) {
        into.push(Kind::Oldest as u8);
        into.extend_from_slice(&self.0.to_le_bytes());
    }

    pub fn decode(record: &[u8]) -> Option<Self> {
        let [kind, number @ ..] = record else { return None };
        (*kind == Kind::Oldest as u8).then_some(())?;
        Some(Self(u32::from_le_bytes(number.try_into().ok()?)))
    }
}

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
    /// synced; and that it may be missing from then on.
    pub fn retire(&self, number: u32) {
        let once = self.begin().append_oldest(Oldest(number + 1));
        self.retiring.lock().push((number, once));
        self.wake();
    }
}
