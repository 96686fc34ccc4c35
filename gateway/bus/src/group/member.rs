use std::time::Instant;

use gateway_model::{Message, Qos};

use super::Rules;
use crate::outbox::Outbox;
use crate::routes::Subscriber;
use crate::session::State;

/// A member of a group, and what was seen of how it gets on.
pub(super) struct Member {
    pub(super) subscriber: Subscriber,
    /// Of the connection that the rest is about.
    epoch: u32,
    /// When it was first seen behind with this much gone from its outbox.
    behind: Option<(Instant, u32)>,
    /// Nothing of it went for too long: its window is full, or its connection is.
    pub(super) stalled: bool,
    owes: Option<Owes>,
    /// It did not acknowledge in time: it is passed over until something goes from its outbox, or
    /// until then, as it may have failed with that message only.
    lapsed: Option<Instant>,
    /// When it was last seen to hang, and how much was gone from its outbox then.
    stuck: Option<(Instant, u32)>,
}

/// Deliveries that a member is to acknowledge.
struct Owes {
    /// When the oldest of them was first seen to be it.
    since: Instant,
    oldest: u32,
    /// What was sent before this was sent before then.
    end: u32,
    progress: u32,
}

/// How well a member could take a message. The lowest is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Ready,
    /// It has a connection that takes or acknowledges nothing.
    Stalled,
    /// It is away, with room in its queue.
    Away,
    /// Something has to be dropped for it.
    Full,
    Ended,
}

impl Member {
    pub(super) fn new(subscriber: Subscriber) -> Self {
        let (behind, owes, lapsed, stuck) = (None, None, None, None);
        Self { subscriber, epoch: 0, behind, stalled: false, owes, lapsed, stuck }
    }

    /// Whether it is passed over while others can take messages.
    pub(super) fn hangs(&self, state: &State) -> bool {
        let is_lapsed = self.lapsed.is_some() && self.suspect(state).is_some();
        is_lapsed || self.epoch == state.epoch && self.stalled && state.outbox.is_behind()
    }

    /// When it hung, if nothing went since. What others had is for it only after all others, or
    /// some of them would pass it back and forth.
    pub(super) fn suspect(&self, state: &State) -> Option<Instant> {
        let (since, progress) = self.stuck?;
        (self.epoch == state.epoch && progress == state.outbox.progress()).then_some(since)
    }

    pub(super) fn standing(&self, state: &State, message: &Message) -> Standing {
        if state.ended {
            return Standing::Ended;
        }
        let has_room = state.outbox.messages_free() > 0 && message.size() <= state.outbox.bytes_free();
        let qos = state.effective_qos(message.qos, self.subscriber.qos);
        match (state.is_attached(), has_room) {
            (true, true) if self.hangs(state) => Standing::Stalled,
            (true, true) => Standing::Ready,
            (false, true) if qos > Qos::AtMostOnce || state.outbox.limits().store_qos0 => Standing::Away,
            _ => Standing::Full,
        }
    }

    /// Sees how it gets on; whether to look again.
    pub(super) fn observe(&mut self, now: Instant, rules: &Rules, group: u32) -> bool {
        let session = self.subscriber.session.clone();
        let state = session.state.lock();
        if self.epoch != state.epoch {
            (self.behind, self.stalled, self.owes) = (None, false, None);
            (self.lapsed, self.stuck, self.epoch) = (None, None, state.epoch);
        }
        if !state.is_attached() {
            return false;
        }
        let outbox = &state.outbox;
        self.observe_stall(now, rules, outbox);
        self.observe_owed(now, rules, group, outbox);
        self.behind.is_some() || self.owes.is_some() || self.lapsed.is_some()
    }

    fn observe_stall(&mut self, now: Instant, rules: &Rules, outbox: &Outbox) {
        let progress = outbox.progress();
        match self.behind {
            _ if !outbox.is_behind() => (self.behind, self.stalled) = (None, false),
            Some((since, then)) if then == progress => {
                self.stalled = rules.stall.is_some_and(|stall| now >= since + stall);
                self.stuck = if self.stalled { Some((now, progress)) } else { self.stuck };
            }
            _ => (self.behind, self.stalled) = (Some((now, progress)), false),
        }
    }

    fn observe_owed(&mut self, now: Instant, rules: &Rules, group: u32, outbox: &Outbox) {
        if rules.ack.is_none() {
            return;
        }
        let progress = outbox.progress();
        let is_stuck = self.stuck.is_some_and(|(_, then)| then == progress);
        self.lapsed = self.lapsed.filter(|until| now < *until && is_stuck);
        if self.owes.as_ref().is_some_and(|owes| owes.progress == progress) {
            return;
        }
        let end = outbox.next_serial();
        let oldest = outbox.owed(group, end);
        match &mut self.owes {
            Some(owes) if oldest == Some(owes.oldest) => owes.progress = progress,
            owes => *owes = oldest.map(|oldest| Owes { since: now, oldest, end, progress }),
        }
    }

    /// Notes that it did not acknowledge in time, if so: then all that was sent before the serial
    /// that this returns may go to others. Also after it went.
    pub(super) fn lapse_if_overdue(&mut self, now: Instant, rules: &Rules, group: u32) -> Option<u32> {
        let (owes, ack) = (self.owes.as_mut()?, rules.ack?);
        if now < owes.since + ack {
            return None;
        }
        let state = self.subscriber.session.state.lock();
        let (outbox, end) = (&state.outbox, owes.end);
        let progress = outbox.progress();
        (self.lapsed, self.stuck) = (Some(now + ack), Some((now, progress)));
        match outbox.owed(group, end) {
            Some(oldest) => (owes.oldest, owes.progress) = (oldest, progress),
            None => self.owes = None,
        }
        Some(end)
    }
}
