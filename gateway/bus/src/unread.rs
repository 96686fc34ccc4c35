use std::time::{Duration, Instant};

use crate::{Bus, Moment};

/// Sessions whose next message could not be read just now: no descriptor was left, or the disk failed
/// once. Their connections are told from time to time to try again.
#[derive(Default)]
pub(crate) struct Unread {
    /// By number; durable ones, as no others read.
    sessions: Vec<u64>,
    /// Nothing is tried again before this.
    next: Option<Instant>,
}

/// How often they are told at most.
const AGAIN_EVERY: Duration = Duration::from_millis(250);

impl Unread {
    pub(crate) fn add(&mut self, session: u64) {
        self.sessions.push(session);
    }

    /// Those whose turn it is, once; or when it will be.
    fn take(&mut self, now: Instant) -> Result<Vec<u64>, Instant> {
        match self.next {
            _ if self.sessions.is_empty() => Ok(Vec::new()),
            Some(next) if next > now => Err(next),
            _ => {
                self.next = Some(now + AGAIN_EVERY);
                Ok(std::mem::take(&mut self.sessions))
            }
        }
    }
}

impl Bus {
    /// Has those try again who could not read. When to come again, if it is too early.
    pub(crate) fn read_again(&self, moment: Moment) -> Option<Instant> {
        let due = self.unread.lock().take(moment.instant);
        for number in due.as_ref().into_iter().flatten() {
            let session = self.durable.lock().get(number).cloned();
            if let Some(session) = session {
                let mut state = session.state.lock();
                state.outbox.read_again();
                state.wake();
            }
        }
        due.err()
    }
}
