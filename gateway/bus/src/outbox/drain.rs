use std::time::Instant;

use gateway_model::{Deliveries, Outgoing, Qos};
use gateway_store::Place;

use super::{Changes, Entry, Outbox};

/// One connection's turn with an outbox, and what happened in it.
pub(crate) struct Drain<'a, 'b> {
    outbox: &'a mut Outbox,
    changes: &'a mut Changes<'b>,
    pub(crate) delivered: u32,
    pub(crate) expired: u32,
    /// Messages handed out, by QoS.
    pub(crate) sent: [u32; 3],
    /// Taken at QoS 0 and refused by the receiver's limits: reason and count of the last kind.
    pub(crate) refused: Option<(&'static str, u32)>,
    /// What is next waits until the store is durable up to here.
    pub(crate) waits_for: Place,
}

impl<'a, 'b> Drain<'a, 'b> {
    pub(crate) fn new(outbox: &'a mut Outbox, changes: &'a mut Changes<'b>) -> Self {
        let waits_for = Place::NOWHERE;
        Self { outbox, changes, delivered: 0, expired: 0, sent: [0; 3], refused: None, waits_for }
    }
}

impl Deliveries for Drain<'_, '_> {
    fn next(&mut self, now: Instant) -> Option<Outgoing> {
        let outbox = &mut *self.outbox;
        if outbox.resend() > 0 {
            let again = outbox.next_again()?;
            self.sent[again.qos as usize] += u32::from(!again.released);
            return Some(again);
        }
        loop {
            let place = outbox.in_flight();
            if outbox.head() == 0
                && let Some(until) = outbox.refill(self.changes)
            {
                self.waits_for = until;
            }
            let head = outbox.entries.get(place)?;
            if head.message.is_expired(now) {
                let expired = outbox.remove_queued(place)?;
                self.changes.leaves(&expired);
                outbox.settled = outbox.settled.wrapping_add(1);
                self.expired += 1;
                continue;
            }
            if head.qos > Qos::AtMostOnce {
                if outbox.is_blocked() || !outbox.bears(head.message.size()) {
                    return None;
                }
                if let Some(until) = wait(head, self.changes) {
                    self.waits_for = until;
                    return None;
                }
                let next = outbox.send()?;
                self.sent[next.qos as usize] += 1;
                return Some(next);
            }
            // Nothing at QoS 0 is listed in the log.
            let taken = outbox.remove_queued(place)?;
            let Entry { message, identifiers, qos, retain, .. } = taken;
            outbox.settled = outbox.settled.wrapping_add(1);
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

/// Until when a copy has to wait: at QoS 2 nothing may be sent that would come again under another
/// identifier if the gateway crashed now.
fn wait(entry: &Entry, changes: &Changes<'_>) -> Option<Place> {
    if entry.qos < Qos::ExactlyOnce || !entry.is_listed() {
        return None;
    }
    let place = entry.place();
    let durable = changes.store()?.durable();
    (place >= durable).then(|| Place::from_number(place.number() + 1))
}
