use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::Session;

/// What becomes due for sessions that are away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Will,
    Expiry,
}

/// Moments to look at a session again. Entries are never cancelled: an entry whose epoch is over
/// is ignored when it comes up.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
}

struct Entry {
    at: Instant,
    due: Due,
    session: Weak<Session>,
    epoch: u32,
}

impl Timers {
    pub(crate) fn add(&mut self, at: Instant, due: Due, session: &Arc<Session>, epoch: u32) {
        self.heap.push(Reverse(Entry { at, due, session: Arc::downgrade(session), epoch }));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Due, Weak<Session>, u32)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.due, entry.session, entry.epoch))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.due, self.epoch).cmp(&(other.at, other.due, other.epoch))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
