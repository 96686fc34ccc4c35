use std::time::Instant;

use gateway_model::{Deliveries, Outgoing, Qos};

use super::{InFlight, Outbox, Queued, identifier, outgoing};

/// One connection's turn with an outbox, and what happened in it.
pub(crate) struct Drain<'a> {
    outbox: &'a mut Outbox,
    pub(crate) delivered: u32,
    pub(crate) expired: u32,
    /// Taken at QoS 0 and refused by the receiver's limits: reason and count of the last kind.
    pub(crate) refused: Option<(&'static str, u32)>,
}

impl<'a> Drain<'a> {
    pub(crate) fn new(outbox: &'a mut Outbox) -> Self {
        Self { outbox, delivered: 0, expired: 0, refused: None }
    }
}

impl Deliveries for Drain<'_> {
    fn next(&mut self, now: Instant) -> Option<Outgoing> {
        let outbox = &mut *self.outbox;
        if outbox.resend > 0 {
            return outbox.next_again();
        }
        loop {
            let head = outbox.queue.front()?;
            if head.message.is_expired(now) {
                outbox.pop_queue();
                outbox.dropped = outbox.dropped.wrapping_add(1);
                self.expired += 1;
                continue;
            }
            if head.qos == Qos::AtMostOnce {
                let Queued { message, identifiers, qos, retain, .. } = outbox.pop_queue()?;
                outbox.delivered = outbox.delivered.wrapping_add(1);
                self.delivered += 1;
                return Some(Outgoing {
                    message,
                    id: None,
                    qos,
                    retain,
                    duplicate: false,
                    released: false,
                    identifiers,
                    mount_len: 0,
                });
            }
            if outbox.is_blocked() {
                return None;
            }
            let serial = outbox.allocate();
            let queued = outbox.pop_queue()?;
            let next = outgoing(&queued, Some(identifier(serial)));
            outbox.in_flight.push_back(InFlight { queued, serial, received: false, resend: false });
            return Some(next);
        }
    }

    fn refuse_last(&mut self, reason: &'static str) {
        debug_assert!(self.delivered > 0, "only what was taken can be refused");
        self.outbox.delivered = self.outbox.delivered.wrapping_sub(1);
        self.outbox.dropped = self.outbox.dropped.wrapping_add(1);
        self.delivered = self.delivered.saturating_sub(1);
        let count = self.refused.map_or(0, |(_, count)| count);
        self.refused = Some((reason, count + 1));
    }

    fn backlog(&self) -> usize {
        self.outbox.backlog()
    }
}
