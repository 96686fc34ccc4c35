use std::collections::VecDeque;
use std::ops::Range;

/// The messages of one publisher as one receiver sees them: what has come, what is missing.
///
/// As long as they come in order it is one number.
#[derive(Debug, Default)]
pub struct Stream {
    next: u64,
    missing: Option<Box<Missing>>,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first one, or one that was expected; `skipped` before it have not come.
    Next {
        skipped: u64,
    },
    /// One that was skipped.
    Late,
    Duplicate,
}

/// Sequence numbers that were skipped, as ranges in order.
#[derive(Debug, Default)]
struct Missing {
    ranges: VecDeque<Range<u64>>,
}

/// Ranges that a stream keeps: 1 MiB. The oldest is then forgotten: it stays lost, and what still comes
/// of it counts as a duplicate.
const RANGES_MAX: usize = 65_536;

impl Stream {
    /// Begins with whatever comes first: what was sent before is not missed.
    pub fn from(sequence: u64) -> Self {
        Self { next: sequence, missing: None }
    }

    #[inline]
    pub fn take(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            // The last number there is comes from who is not one of us.
            self.next = self.next.saturating_add(1);
            return Arrival::Next { skipped: 0 };
        }
        self.take_out_of_turn(sequence)
    }

    #[cold]
    fn take_out_of_turn(&mut self, sequence: u64) -> Arrival {
        if sequence < self.next {
            let was_missing = self.missing.as_mut().is_some_and(|missing| missing.remove(sequence));
            return if was_missing { Arrival::Late } else { Arrival::Duplicate };
        }
        let skipped = sequence - self.next;
        self.missing.get_or_insert_default().push(self.next..sequence);
        self.next = sequence.saturating_add(1);
        Arrival::Next { skipped }
    }
}

impl Missing {
    fn push(&mut self, range: Range<u64>) {
        if self.ranges.len() == RANGES_MAX {
            self.ranges.pop_front();
        }
        self.ranges.push_back(range);
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= sequence);
        let Some(range) = self.ranges.get_mut(at).filter(|range| range.contains(&sequence)) else {
            return false;
        };
        let after = sequence + 1..range.end;
        range.end = sequence;
        let is_empty = range.is_empty();
        match (is_empty, after.is_empty()) {
            (true, true) => drop(self.ranges.remove(at)),
            (true, false) => self.ranges[at] = after,
            (false, true) => {}
            (false, false) => {
                self.ranges.insert(at + 1, after);
                if self.ranges.len() > RANGES_MAX {
                    self.ranges.pop_front();
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_duplicates_and_order_are_told_apart() {
        let mut stream = Stream::default();
        let arrivals = [0, 1, 4, 2, 4, 5, 2, 3].map(|sequence| stream.take(sequence));
        let next = |skipped| Arrival::Next { skipped };
        assert_eq!(
            arrivals,
            [
                next(0),
                next(0),
                next(2),
                Arrival::Late,
                Arrival::Duplicate,
                next(0),
                Arrival::Duplicate,
                Arrival::Late
            ]
        );
    }

    #[test]
    fn a_listener_that_comes_later_misses_nothing_before() {
        let mut stream = Stream::from(1000);
        assert_eq!(stream.take(1000), Arrival::Next { skipped: 0 });
        assert_eq!(stream.take(999), Arrival::Duplicate);
    }

    #[test]
    fn a_gap_of_any_size_costs_one_range() {
        let mut stream = Stream::default();
        assert_eq!(stream.take(u64::MAX), Arrival::Next { skipped: u64::MAX });
        assert_eq!(stream.take(1 << 50), Arrival::Late);
        assert_eq!(stream.missing.unwrap().ranges.len(), 2);
    }

    #[test]
    fn the_largest_number_is_one_like_others() {
        let mut stream = Stream::from(u64::MAX);
        assert_eq!(stream.take(u64::MAX), Arrival::Next { skipped: 0 });
        assert_eq!(stream.take(u64::MAX - 1), Arrival::Duplicate);
    }

    #[test]
    fn memory_for_gaps_is_bounded() {
        let mut stream = Stream::default();
        let count = RANGES_MAX as u64 + 10;
        for number in 0..count {
            assert_eq!(stream.take(number * 2 + 1), Arrival::Next { skipped: 1 });
        }
        assert_eq!(stream.missing.as_ref().unwrap().ranges.len(), RANGES_MAX);
        assert_eq!(stream.take(0), Arrival::Duplicate, "forgotten");
        assert_eq!(stream.take(count * 2 - 2), Arrival::Late);
    }

    /// Against a set, with arrivals shuffled, doubled and lost. A fixed sequence: it needs no seed.
    #[test]
    fn it_agrees_with_a_set() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut stream = Stream::default();
        let mut seen = std::collections::BTreeSet::new();
        for base in 0..5000_u64 {
            let sequence = (base + random(20)).saturating_sub(random(30));
            let first = seen.last().is_none_or(|last| sequence > *last);
            let expected = match (seen.insert(sequence), first) {
                (false, _) => "duplicate",
                (true, true) => "next",
                (true, false) => "late",
            };
            let found = match stream.take(sequence) {
                Arrival::Next { .. } => "next",
                Arrival::Late => "late",
                Arrival::Duplicate => "duplicate",
            };
            assert_eq!(found, expected, "{sequence}");
        }
    }
}
