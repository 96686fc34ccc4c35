use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use gateway_model::Tick;

use crate::Session;

/// Moments to look at sessions that are away: one each, in small pieces of memory. Where a fleet goes, its
/// timers take the place of its connections.
#[derive(Default)]
pub(crate) struct Timers {
    entries: BTreeSet<Entry>,
}

/// What waits for a session that is away.
#[derive(Default)]
pub(crate) struct Deadlines {
    pub(crate) will: Option<Tick>,
    pub(crate) expiry: Option<Tick>,
    /// The moment of the entry among the timers.
    pub(crate) armed: Option<Tick>,
}

struct Entry {
    at: Tick,
    session: Weak<Session>,
}

impl Deadlines {
    pub(crate) fn next(&self) -> Option<Tick> {
        self.will.into_iter().chain(self.expiry).min()
    }
}

impl Timers {
    /// Makes sure that the session is looked at in time.
    pub(crate) fn arm(&mut self, session: &Arc<Session>, deadlines: &mut Deadlines) {
        if deadlines.armed == deadlines.next() {
            return;
        }
        self.disarm(session, deadlines);
        deadlines.armed = deadlines.next();
        self.entries.extend(deadlines.armed.map(|at| Entry::new(at, session)));
    }

    /// Nothing waits any more.
    pub(crate) fn disarm(&mut self, session: &Arc<Session>, deadlines: &Deadlines) {
        if let Some(at) = deadlines.armed {
            self.entries.remove(&Entry::new(at, session));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first()?.at.instant()
    }

    /// The next entry that has come up, with its moment.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Tick, Weak<Session>)> {
        let is_due = self.entries.first()?.at <= now.into();
        let Entry { at, session } = if is_due { self.entries.pop_first()? } else { return None };
        Some((at, session))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    fn new(at: Tick, session: &Arc<Session>) -> Self {
        Self { at, session: Arc::downgrade(session) }
    }

    /// Of two at the same moment, where they are tells them apart.
    fn key(&self) -> (Tick, *const Session) {
        (self.at, self.session.as_ptr())
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}
