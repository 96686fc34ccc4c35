use std::time::Instant;

use gateway_model::{Deliveries, Outgoing, Qos};

use super::{Entry, Outbox};

/// One connection's turn with an outbox, and what happened in it.
pub(crate) struct Drain<'a> {
    outbox: &'a mut Outbox,
    pub(crate) delivered: u32,
    pub(crate) expired: u32,
    /// Messages handed out, by QoS.
    pub(crate) sent: [u32; 3],
    /// Taken at QoS 0 and refused by the receiver's limits: reason and count of the last kind.
    pub(crate) refused: Option<(&'static str, u32)>,
}

impl<'a> Drain<'a> {
    pub(crate) fn new(outbox: &'a mut Outbox) -> Self {
        Self { outbox, delivered: 0, expired: 0, sent: [0; 3], refused: None }
    }
}

impl Deliveries for Drain<'_> {
    fn next(&mut self, now: Instant) -> Option<Outgoing> {
        let outbox = &mut *self.outbox;
        if outbox.resend > 0 {
            let again = outbox.next_again()?;
            self.sent[again.qos as usize] += u32::from(!again.released);
            return Some(again);
        }
        loop {
            let place = outbox.in_flight();
            let head = outbox.entries.get(place)?;
            if head.message.is_expired(now) {
                outbox.remove_queued(place);
                outbox.dropped = outbox.dropped.wrapping_add(1);
                self.expired += 1;
                continue;
            }
            if head.qos > Qos::AtMostOnce {
                if outbox.is_blocked() || !outbox.bears(head.message.size()) {
                    return None;
                }
                let next = outbox.send();
                self.sent[next.qos as usize] += 1;
                return Some(next);
            }
            let Entry { message, identifiers, qos, retain, .. } = outbox.remove_queued(place)?;
            outbox.delivered = outbox.delivered.wrapping_add(1);
            self.delivered += 1;
            self.sent[Qos::AtMostOnce as usize] += 1;
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
    }

    fn refuse_last(&mut self, reason: &'static str) {
        debug_assert!(self.delivered > 0, "only what was taken can be refused");
        self.outbox.delivered = self.outbox.delivered.wrapping_sub(1);
        self.outbox.dropped = self.outbox.dropped.wrapping_add(1);
        self.delivered = self.delivered.saturating_sub(1);
        let sent = &mut self.sent[Qos::AtMostOnce as usize];
        *sent = sent.saturating_sub(1);
        let count = self.refused.map_or(0, |(_, count)| count);
        self.refused = Some((reason, count + 1));
    }

    fn backlog(&self) -> usize {
        self.outbox.backlog()
    }
}
