use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_model::{ClientId, Deliveries, DeliveryId, Reason, Settled, Settlement};
use gateway_store::Place;

use crate::outbox::{Changes, Drain};
use crate::session::State;
use crate::turn::Turn;
use crate::{Counter, Counters, DropReason, Session};

/// A connection's hold on a session. Void as soon as another connection takes it over.
#[derive(Clone)]
pub struct Attachment {
    pub session: Arc<Session>,
    epoch: u32,
    /// Another connection held the session, or the one of that name before it.
    pub took_over: bool,
}

/// What came of a turn with an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Messages that still wait.
    pub left: usize,
    /// Messages handed out, by QoS.
    pub sent: [u32; 3],
    /// What is next waits until the store is durable up to here; [`Place::NOWHERE`] if it does not.
    pub waits_for: Place,
}

impl Attachment {
    pub(crate) fn new(session: Arc<Session>, epoch: u32, took_over: bool) -> Self {
        Self { session, epoch, took_over }
    }

    pub fn client_id(&self) -> &ClientId {
        &self.session.client_id
    }

    pub(crate) fn deliver(
        &self,
        counters: &Counters,
        turn: &mut Turn<'_>,
        drain: impl FnOnce(&mut dyn Deliveries),
    ) -> Result<Drained, Reason> {
        let mut state = self.session.state.lock();
        if !self.holds(&state) {
            return Err(Reason::SessionTakenOver);
        }
        state.notified = false;
        let mut deliveries = Drain::new(&mut state.outbox, &mut turn.changes);
        drain(&mut deliveries);
        let Drain { delivered, expired, sent, refused, waits_for, .. } = deliveries;
        state.outbox.rest();
        state.account(turn.budget());
        let left = state.outbox.queued();
        drop(state);
        turn.collect(&self.session);
        turn.collect_unread(&self.session);
        if delivered > 0 {
            counters.add(Counter::Delivered, delivered.into());
        }
        let refused = refused.map(|(reason, count)| (DropReason::from_name(reason), count));
        counters.count_dropped(&self.session, refused);
        let lost = [(DropReason::Expired, expired), (DropReason::Damaged, turn.take_damaged())];
        counters.count_dropped(&self.session, lost);
        Ok(Drained { left, sent, waits_for })
    }

    pub(crate) fn settle(
        &self,
        counters: &Counters,
        changes: &mut Changes<'_>,
        id: DeliveryId,
        settlement: Settlement,
    ) -> Settled {
        let mut state = self.session.state.lock();
        if !self.holds(&state) {
            return Settled::Unknown;
        }
        let before = state.outbox.settled();
        let settled = state.outbox.settle(id, settlement, changes);
        // What another member of a group has now is counted there.
        let is_counted = state.outbox.settled() != before;
        if settled != Settled::Done {
            return settled;
        }
        if settlement == Settlement::Returned {
            state.wake();
        }
        drop(state);
        match settlement {
            _ if !is_counted => {}
            Settlement::Delivered | Settlement::Acknowledged | Settlement::Completed => {
                counters.add(Counter::Delivered, 1);
            }
            Settlement::Refused(_) => counters.add_dropped(self.client_id(), None, DropReason::Refused, 1),
            Settlement::Dropped(reason) => {
                counters.add_dropped(self.client_id(), None, DropReason::from_name(reason), 1);
            }
            Settlement::Received | Settlement::Returned => {}
        }
        settled
    }

    /// Remembers an identifier of the peer's exactly-once publishes. Whether the attachment may.
    pub(crate) fn hold(&self, id: NonZeroU16) -> bool {
        let mut state = self.session.state.lock();
        let is_valid = self.holds(&state);
        if is_valid {
            state.hold(id);
        }
        is_valid
    }

    /// Forgets one; whether it was there.
    pub(crate) fn release(&self, id: NonZeroU16) -> bool {
        let mut state = self.session.state.lock();
        self.holds(&state) && state.let_go(id)
    }

    pub(crate) fn keep(&self, bytes: &[u8]) -> bool {
        let mut state = self.session.state.lock();
        let is_valid = self.holds(&state);
        if is_valid {
            state.rare.get_or_insert_default().kept = Some(bytes.into());
        }
        is_valid
    }

    /// Why the attachment is void, if it is.
    pub fn evicted(&self) -> Option<Reason> {
        let state = self.session.state.lock();
        (!self.holds(&state)).then_some(Reason::SessionTakenOver)
    }

    pub(crate) fn holds(&self, state: &State) -> bool {
        state.epoch == self.epoch
    }
}
