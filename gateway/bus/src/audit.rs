use std::time::{Duration, Instant};

use crate::counters::Ledger;
use crate::{Bus, Moment, SessionView};

/// A look at all sessions, and whether the books agree.
pub struct Audit {
    /// One after the other: no moment of the whole.
    pub sessions: Vec<SessionView>,
    /// Copies that nobody can explain; not 0 means a defect.
    pub unaccounted: u64,
}

/// The difference between what the counters say and what the sessions hold, as long as it is not
/// certain. What is counted a moment after it happened looks like one.
#[derive(Default)]
pub(crate) struct Suspicion {
    since: Option<Instant>,
    /// The smallest that was seen since, with its sign.
    least: i64,
}

/// A thread counts what it did within microseconds, unless it has to wait for a processor. A
/// difference that lasts longer than this is one.
const DOUBT: Duration = Duration::from_secs(2);

impl Bus {
    /// Compares the ledger of each session with what it holds, and the counters with all of them:
    /// `matched + recovered == delivered + dropped + what there is`.
    ///
    /// The first is exact, as a session changes its ledger and its entries under one lock. For the
    /// second, others go on meanwhile: what moves while the sessions are looked at is no difference.
    pub fn audit(&self, moment: Moment) -> Audit {
        let (sessions, difference) = self.compare();
        // The ledgers of sessions go round.
        let inside = |session: &SessionView| u64::from((session.unaccounted as i32).unsigned_abs());
        let inside: u64 = sessions.iter().map(inside).sum();
        let outside = self.suspicion.lock().confirm(moment.instant, difference);
        Audit { sessions, unaccounted: inside.max(outside) }
    }

    /// All sessions, and the difference between the counters and what they hold.
    pub(crate) fn compare(&self) -> (Vec<SessionView>, i64) {
        let before = self.counters.ledger();
        let sessions = self.sessions();
        let after = self.counters.ledger();
        let present: usize = sessions.iter().map(|session| session.queued + session.in_flight).sum();
        let difference = difference(&before, &after, present as u64);
        (sessions, difference)
    }
}

/// By how much the counters must have said more copies than were `present` (or fewer: negative) at
/// whatever moment between two readings; 0 if they may have agreed.
fn difference(before: &Ledger, after: &Ledger, present: u64) -> i64 {
    // Moving from one session to another, a copy may have been seen in both or in neither.
    let moved = (after.moved - before.moved) as i64;
    let fewest = before.matched as i64 - after.settled as i64 - moved;
    let most = after.matched as i64 - before.settled as i64 + moved;
    let present = present as i64;
    if present < fewest {
        fewest - present
    } else if present > most {
        most - present
    } else {
        0
    }
}

impl Suspicion {
    /// How much of a difference is certain.
    fn confirm(&mut self, now: Instant, difference: i64) -> u64 {
        if difference == 0 || difference.signum() != self.least.signum() {
            *self = Self { since: Some(now), least: difference };
            return 0;
        }
        if difference.abs() < self.least.abs() {
            self.least = difference;
        }
        let lasts = self.since.is_some_and(|since| now.saturating_duration_since(since) >= DOUBT);
        if lasts { self.least.unsigned_abs() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(matched: u64, settled: u64, moved: u64) -> Ledger {
        Ledger { matched, settled, moved }
    }

    #[test]
    fn what_moves_meanwhile_is_no_difference() {
        let still = ledger(10, 4, 0);
        assert_eq!([5, 6, 7].map(|present| difference(&still, &still, present)), [1, 0, -1]);
        let later = ledger(12, 5, 0);
        assert_eq!([4, 5, 8, 9].map(|present| difference(&still, &later, present)), [1, 0, 0, -1]);
        let moved = ledger(10, 4, 2);
        assert_eq!([3, 4, 8, 9].map(|present| difference(&still, &moved, present)), [1, 0, 0, -1]);
    }

    #[test]
    fn a_difference_counts_when_it_lasts() {
        let (begin, mut suspicion) = (Instant::now(), Suspicion::default());
        let mut confirm =
            |millis, difference| suspicion.confirm(begin + Duration::from_millis(millis), difference);
        assert_eq!([confirm(0, 3), confirm(1000, 2), confirm(1999, 5)], [0, 0, 0]);
        assert_eq!(confirm(2000, 4), 2, "the smallest that there was all the time");
        assert_eq!([confirm(2001, 0), confirm(2002, 4)], [0, 0]);
        assert_eq!([confirm(4001, -4), confirm(6000, -4), confirm(6001, -4)], [0, 0, 4]);
    }
}
