use std::cmp::Reverse;

use gateway_model::{DeliveryId, Outgoing};

use super::{Entry, Outbox, Stage};

const IDENTIFIERS: u32 = u16::MAX as u32;

/// The packet identifier of a copy. The same after a restart, so that a receiver knows an
/// exactly-once message again that it may have been sent before.
pub(super) fn identifier(ordinal: u64) -> DeliveryId {
    DeliveryId::new((ordinal % u64::from(IDENTIFIERS)) as u16 + 1).expect("a remainder plus one is not zero")
}

/// What is in flight.
impl Outbox {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.into()
    }

    pub(super) fn position(&self, id: DeliveryId) -> Option<usize> {
        self.entries.range(..self.in_flight()).position(|entry| identifier(entry.ordinal()) == id)
    }

    /// How long ago something was first sent, in deliveries.
    pub(super) fn age(&self, serial: u32) -> u32 {
        self.next_serial.wrapping_sub(serial)
    }

    /// Puts what is in flight in order of first sending.
    pub(super) fn sort_in_flight(&mut self) {
        let (next, count) = (self.next_serial, self.in_flight());
        self.entries.make_contiguous()[..count].sort_by_key(|entry| Reverse(next.wrapping_sub(entry.serial)));
    }

    /// What is to be sent again comes before anything new, so `None` means to wait for room.
    pub(super) fn next_again(&mut self) -> Option<Outgoing> {
        let sent = self.in_flight - self.resend();
        let next = self.next_serial;
        let in_flight = self.entries.range_mut(..usize::from(self.in_flight));
        let again = in_flight.filter(|entry| entry.is_again());
        let entry = again.max_by_key(|entry| next.wrapping_sub(entry.serial))?;
        let received = entry.is_received();
        // The new connection's window may be smaller; a release needs no room in it (section 4.9).
        if !received && sent >= self.window {
            return None;
        }
        entry.stage = if received { Stage::Received } else { Stage::Sent };
        let mut outgoing = outgoing(entry, Some(identifier(entry.ordinal())));
        outgoing.duplicate = !received;
        outgoing.released = received;
        self.rare_mut().resend -= 1;
        Some(outgoing)
    }

    /// Sends the first of the queue, above QoS 0; `None` while its identifier is in flight.
    pub(super) fn send(&mut self) -> Option<Outgoing> {
        let place = self.in_flight();
        let head = &self.entries[place];
        let (ordinal, is_listed) = (head.ordinal(), head.is_listed());
        if !self.is_free(ordinal) {
            if is_listed {
                return None;
            }
            let fresh = self.fresh_ordinal();
            self.entries[place].set_ordinal(fresh);
        }
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let entry = &mut self.entries[place];
        self.in_flight += 1;
        self.queue_bytes -= entry.message.size() as u32;
        let is_replayed = entry.is_replayed();
        let may_be_known = std::mem::replace(&mut entry.serial, serial) != 0;
        entry.stage = if entry.stage == Stage::Moved { Stage::Kept } else { Stage::Sent };
        let mut outgoing = outgoing(entry, Some(identifier(entry.ordinal())));
        outgoing.duplicate = may_be_known;
        if is_replayed {
            self.rare_mut().replayed -= 1;
        }
        Some(outgoing)
    }

    /// Whether no other copy in flight has the identifier.
    fn is_free(&mut self, ordinal: u64) -> bool {
        if self.in_flight == 0 {
            self.base = ordinal as u32;
            return true;
        }
        if (ordinal as u32).wrapping_sub(self.base) < IDENTIFIERS {
            return true;
        }
        let ordinals = self.entries.range(..self.in_flight()).map(Entry::ordinal);
        let (lowest, highest) = ordinals.fold((ordinal, ordinal), |(lowest, highest), ordinal| {
            (lowest.min(ordinal), highest.max(ordinal))
        });
        if highest - lowest < u64::from(IDENTIFIERS) {
            self.base = lowest as u32;
            return true;
        }
        self.base = far_from(ordinal);
        self.position(identifier(ordinal)).is_none()
    }

    /// The next ordinal whose identifier is not in flight; there is one, as the window is smaller than
    /// their number.
    fn fresh_ordinal(&mut self) -> u64 {
        loop {
            let ordinal = self.next_ordinal;
            self.next_ordinal += 1;
            if self.position(identifier(ordinal)).is_none() {
                return ordinal;
            }
        }
    }
}

/// A base that no ordinal soon to come is near to: the identifiers in flight are looked at each time.
pub(super) fn far_from(ordinal: u64) -> u32 {
    (ordinal as u32).wrapping_add(1 << 31)
}

fn outgoing(queued: &Entry, id: Option<DeliveryId>) -> Outgoing {
    Outgoing {
        message: queued.message.clone(),
        id,
        qos: queued.qos,
        retain: queued.retain,
        duplicate: false,
        released: false,
        identifiers: queued.identifiers.clone(),
        mount_len: 0,
    }
}
