use std::collections::HashMap;

use super::Rules;
use crate::outbox::{Entry, Gone};
use crate::turn::Turn;
use crate::{Counters, Session};

/// With what messages are moved.
pub(crate) struct Hands<'h, 't> {
    pub(crate) turn: &'h mut Turn<'t>,
    pub(crate) rules: &'h Rules,
    pub(crate) counters: &'h Counters,
    /// Copies that the log has as another session's, by their tickets: whose, and where.
    pub(super) leaving: HashMap<u32, (u64, Gone)>,
}

impl<'h, 't> Hands<'h, 't> {
    pub(crate) fn new(turn: &'h mut Turn<'t>, rules: &'h Rules, counters: &'h Counters) -> Self {
        Self { turn, rules, counters, leaving: HashMap::new() }
    }

    /// Copies of one group were taken out of a session: the log hears of each that has left when it
    /// gets the one that takes its place, or in the end.
    pub(crate) fn took<'e>(
        &mut self,
        session: &Session,
        gone: impl IntoIterator<Item = Gone>,
        copies: impl IntoIterator<Item = &'e Entry>,
    ) {
        let mut gone: HashMap<u64, Gone> = gone.into_iter().map(|gone| (gone.ordinal, gone)).collect();
        if gone.is_empty() {
            return;
        }
        for copy in copies {
            if let Some(gone) = gone.remove(&copy.ordinal()) {
                self.leaving.insert(copy.ticket, (session.number, gone));
            }
        }
        gone.into_values().for_each(|gone| self.turn.settle_later(session.number, gone));
    }
}

impl Drop for Hands<'_, '_> {
    fn drop(&mut self) {
        for (session, gone) in std::mem::take(&mut self.leaving).into_values() {
            self.turn.settle_later(session, gone);
        }
    }
}
