use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use gateway_model::Tick;

/// When connections are to be looked at though nothing happens.
///
/// An entry is never taken back: one that an earlier one has replaced says nothing when its time comes.
#[derive(Default)]
pub(crate) struct Timers {
    entries: BinaryHeap<Reverse<Entry>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) at: Tick,
    pub(crate) key: u32,
    pub(crate) generation: u32,
}

/// Room that is never worth a thought.
const SPARE: usize = 256;

impl Timers {
    pub(crate) fn push(&mut self, entry: Entry) {
        // By a quarter where it would double: there may be millions.
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(self.entries.len() / 4 + SPARE);
        }
        self.entries.push(Reverse(entry));
    }

    /// Takes the first entry whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Entry> {
        let now = Tick::from(now);
        let Reverse(first) = self.entries.peek().filter(|Reverse(first)| first.at <= now).copied()?;
        self.entries.pop();
        Some(first)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        let Reverse(first) = self.entries.peek()?;
        first.at.instant()
    }

    /// Before the entries that say nothing outnumber the connections by far it is made anew of those that
    /// count, so that its size is that of the connections and not that of their traffic.
    pub(crate) fn tidy(&mut self, connections: usize, counts: impl Fn(&Entry) -> bool) {
        if self.entries.len() <= 2 * connections + SPARE {
            return;
        }
        // Of those that count a connection may have several that are the same. Slots are not walked: where
        // a fleet was there are many and all are empty.
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        entries.retain(|Reverse(entry)| counts(entry));
        entries.sort_unstable();
        entries.dedup();
        entries.shrink_to(entries.len() + entries.len() / 4 + SPARE);
        self.entries = entries.into();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_not_a_nanosecond_early() {
        let begin = Instant::now();
        let mut timers = Timers::default();
        let at = |nanos: u64| begin + Duration::from_nanos(nanos);
        for (key, nanos) in [3, 1_000_000_007, 0, 2].into_iter().enumerate() {
            timers.push(Entry { at: at(nanos).into(), key: key as u32, generation: 0 });
        }
        let mut due = |nanos: u64| timers.pop_due(at(nanos)).map(|entry| entry.key);
        assert_eq!([due(2), due(2), due(2)], [Some(2), Some(3), None]);
        assert_eq!([due(1_000_000_006), due(1_000_000_006)], [Some(0), None]);
        assert_eq!(timers.next(), Some(at(1_000_000_007)));
        assert_eq!(timers.pop_due(at(1_000_000_007)).map(|entry| entry.key), Some(1));
        assert!(timers.next().is_none());
    }

    #[test]
    fn entries_that_say_nothing_go() {
        let begin = Instant::now();
        let mut timers = Timers::default();
        for number in 0..10_000 {
            let entry = Entry { at: (begin + Duration::from_nanos(number)).into(), key: 0, generation: 0 };
            timers.push(entry);
            timers.push(entry);
            timers.tidy(1, |one| *one == entry);
            assert!(timers.entries.len() < 300);
        }
        assert_eq!(timers.pop_due(begin + Duration::from_secs(1)).map(|entry| entry.key), Some(0));
    }
}
