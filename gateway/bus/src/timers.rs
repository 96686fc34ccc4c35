use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::Session;
use crate::vacancy::Vacancy;

/// Moments to look at sessions that are away.
///
/// A session has one entry that counts: the one its [`Deadlines::armed`] names. Entries are never
/// cancelled; an entry that no longer counts is ignored when it comes up, and a new one is made
/// only for an earlier moment, so a client that comes and goes does not pile them up.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
}

/// What waits for a session that is away.
#[derive(Default)]
pub(crate) struct Deadlines {
    pub(crate) will: Option<Instant>,
    pub(crate) expiry: Option<Instant>,
    /// The moment of the entry among the timers.
    pub(crate) armed: Option<Instant>,
}

struct Entry {
    at: Instant,
    session: Weak<Session>,
}

impl Deadlines {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.will.into_iter().chain(self.expiry).min()
    }
}

impl Timers {
    /// Makes sure that the session is looked at in time.
    pub(crate) fn arm(&mut self, session: &Arc<Session>, deadlines: &mut Deadlines) {
        let Some(next) = deadlines.next() else { return };
        if deadlines.armed.is_none_or(|armed| next < armed) {
            deadlines.armed = Some(next);
            self.heap.push(Reverse(Entry { at: next, session: Arc::downgrade(session) }));
        }
    }

    /// Takes all entries out if those that no longer count may outnumber the sessions by far.
    pub(crate) fn take_crowd(&mut self, sessions: usize) -> Vec<(Instant, Weak<Session>)> {
        const SPARE: usize = 256;
        if self.heap.len() <= 2 * sessions + SPARE {
            return Vec::new();
        }
        self.heap.drain().map(|Reverse(entry)| (entry.at, entry.session)).collect()
    }

    /// Puts an entry back.
    pub(crate) fn put(&mut self, at: Instant, session: Weak<Session>) {
        self.heap.push(Reverse(Entry { at, session }));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    /// The next entry that has come up, with its moment.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Weak<Session>)> {
        if self.next()? > now {
            return None;
        }
        let next = self.heap.pop().map(|Reverse(entry)| (entry.at, entry.session));
        self.heap.give_back();
        next
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}
