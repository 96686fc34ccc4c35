mod drain;
mod transfer;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use gateway_model::{DeliveryId, Identifiers, Message, Outgoing, Qos, Settled, Settlement};

pub(crate) use self::drain::Drain;
use crate::{DropPolicy, DropReason, QueueLimits};

/// A session's bounded queue and its in-flight window.
///
/// ```text
///   push ──▶ queue ──next──▶ QoS 0: delivered
///             │ ▲    └─────▶ in flight ──settle──▶ delivered | dropped
///             │ │              ▲   │ Received: only the release is still to be sent
///             │ │              └───┘ restart, Returned: to be sent again, in order
///        take ▼ │ merge
///       another member of the group
/// ```
///
/// Invariant: `matched == delivered + dropped + queue.len() + in_flight.len()` (wrapping). What
/// moves to another session is taken off `matched` here and added to it there.
pub(crate) struct Outbox {
    /// The highest priority first; in order of arrival within one.
    queue: VecDeque<Queued>,
    /// In order of first sending; `serial` ascends.
    in_flight: VecDeque<InFlight>,
    /// Serial of the next delivery above QoS 0.
    next_serial: u64,
    queue_bytes: u32,
    /// Retained messages in the queue.
    replayed: u32,
    matched: u32,
    delivered: u32,
    dropped: u32,
    pub(crate) limits: QueueLimits,
    /// How many entries in flight are to be sent again.
    resend: u16,
    /// Entries in flight at most.
    window: u16,
}

/// One copy of a message, waiting.
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) identifiers: Identifiers,
    /// The place of a shared message in the sequence of its group.
    pub(crate) ticket: u64,
    /// Number of the group it was shared in; 0 is none.
    pub(crate) group: u32,
    pub(crate) qos: Qos,
    /// Higher goes first.
    pub(crate) priority: u8,
    pub(crate) retain: bool,
    /// A retained message for a new subscription: not held to the number of messages, which is for
    /// what piles up while nobody reads.
    pub(crate) replayed: bool,
}

struct InFlight {
    queued: Queued,
    /// Position in the endless sequence of identifiers; the identifier is its remainder.
    serial: u64,
    /// The receiver has the message (PUBREC).
    received: bool,
    /// To be sent again.
    resend: bool,
}

const IDENTIFIERS: u64 = u16::MAX as u64;

fn identifier(serial: u64) -> DeliveryId {
    DeliveryId::new((serial % IDENTIFIERS) as u16 + 1).expect("a remainder plus one is not zero")
}

impl Queued {
    /// By which queues and groups sort.
    pub(crate) fn rank(&self) -> (Reverse<u8>, u64) {
        (Reverse(self.priority), self.ticket)
    }
}

impl Outbox {
    pub(crate) fn new(window: u16, limits: QueueLimits) -> Self {
        Self {
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_serial: 0,
            queue_bytes: 0,
            replayed: 0,
            matched: 0,
            delivered: 0,
            dropped: 0,
            limits,
            resend: 0,
            window,
        }
    }

    /// A connection begins: everything in flight is to be sent again.
    pub(crate) fn restart(&mut self, window: u16) {
        self.window = window;
        self.resend = self.in_flight.len() as u16;
        self.in_flight.iter_mut().for_each(|entry| entry.resend = true);
    }

    /// Queues a copy. Returns the reason and number of copies dropped for it.
    pub(crate) fn push(&mut self, queued: Queued) -> Option<(DropReason, u32)> {
        self.matched = self.matched.wrapping_add(1);
        let mut evicted = 0;
        while !self.fits(&queued) {
            if !self.evict_for(&queued) {
                self.dropped = self.dropped.wrapping_add(evicted + 1);
                return Some((DropReason::QueueFull, evicted + 1));
            }
            evicted += 1;
        }
        self.dropped = self.dropped.wrapping_add(evicted);
        self.queue_bytes += queued.message.size() as u32;
        self.replayed += u32::from(queued.replayed);
        if self.queue.back().is_none_or(|last| last.priority >= queued.priority) {
            self.queue.push_back(queued);
        } else {
            let place = self.queue.partition_point(|present| present.priority >= queued.priority);
            self.queue.insert(place, queued);
        }
        (evicted > 0).then_some((DropReason::QueueFull, evicted))
    }

    /// How many retained messages are worth reading for a new subscription: as many as can fit, and
    /// one more, whose drop tells that there were more.
    pub(crate) fn replay_room(&self) -> usize {
        self.bytes_free() / Message::SIZE_MIN + 1
    }

    /// Accounts for a copy that is not even queued.
    pub(crate) fn reject(&mut self) {
        self.lose(1);
    }

    pub(crate) fn settle(&mut self, id: DeliveryId, settlement: Settlement) -> Settled {
        let Some(index) = self.position(id) else { return Settled::Unknown };
        let entry = &mut self.in_flight[index];
        let is_delivered = match settlement {
            Settlement::Received if entry.queued.qos == Qos::ExactlyOnce => {
                entry.received = true;
                return Settled::Done;
            }
            Settlement::Returned => {
                self.resend += u16::from(!entry.resend);
                entry.resend = true;
                return Settled::Done;
            }
            Settlement::Delivered => true,
            Settlement::Acknowledged if entry.queued.qos == Qos::AtLeastOnce => true,
            Settlement::Completed if entry.received => true,
            Settlement::Refused(qos) if entry.queued.qos == qos => false,
            Settlement::Dropped(_) => false,
            Settlement::Received
            | Settlement::Acknowledged
            | Settlement::Completed
            | Settlement::Refused(_) => return Settled::Misfit,
        };
        let ended = if is_delivered { &mut self.delivered } else { &mut self.dropped };
        *ended = ended.wrapping_add(1);
        let entry = if index == 0 { self.in_flight.pop_front() } else { self.in_flight.remove(index) };
        self.resend -= u16::from(entry.is_some_and(|entry| entry.resend));
        self.rest();
        Settled::Done
    }

    /// Empties the outbox; returns how many copies went.
    pub(crate) fn clear(&mut self) -> u32 {
        let gone = self.backlog() as u32;
        self.dropped = self.dropped.wrapping_add(gone);
        self.queue = VecDeque::new();
        self.in_flight = VecDeque::new();
        (self.queue_bytes, self.replayed, self.resend) = (0, 0, 0);
        gone
    }

    /// Drops what waits at QoS 0: its receiver is gone and it is not to be stored.
    pub(crate) fn clear_qos0(&mut self) -> u32 {
        let before = self.queue.len();
        let (bytes, replayed) = (&mut self.queue_bytes, &mut self.replayed);
        self.queue.retain(|queued| {
            let keep = queued.qos != Qos::AtMostOnce;
            if !keep {
                *bytes -= queued.message.size() as u32;
                *replayed -= u32::from(queued.replayed);
            }
            keep
        });
        let gone = (before - self.queue.len()) as u32;
        self.dropped = self.dropped.wrapping_add(gone);
        gone
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes as usize
    }

    /// Copies that the ledger cannot explain; not 0 means a defect.
    pub(crate) fn unaccounted(&self) -> u32 {
        let present = self.backlog() as u32;
        self.matched.wrapping_sub(self.delivered).wrapping_sub(self.dropped).wrapping_sub(present)
    }

    /// Gives buffers back: idle sessions are what there is most of.
    pub(crate) fn rest(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
        if self.in_flight.is_empty() && self.in_flight.capacity() > 0 {
            self.in_flight = VecDeque::new();
        }
    }

    fn position(&self, id: DeliveryId) -> Option<usize> {
        self.in_flight.iter().position(|entry| identifier(entry.serial) == id)
    }

    fn fits(&self, queued: &Queued) -> bool {
        (queued.replayed || self.messages_free() > 0) && queued.message.size() <= self.bytes_free()
    }

    /// Drops one copy that has less right to be here than the new one: of the lowest priority the
    /// oldest, or the newest if that is the policy. False if there is none.
    ///
    /// Where it is the number that is too large, replayed messages stay, as they do not count.
    fn evict_for(&mut self, new: &Queued) -> bool {
        let size = new.message.size();
        if size > self.limits.bytes_max as usize {
            return false;
        }
        let any = size > self.bytes_free() || self.replayed == 0;
        let counts = |queued: &Queued| any || !queued.replayed;
        let Some(last) = self.queue.iter().rposition(counts) else { return false };
        let lowest = self.queue[last].priority;
        let victim = match self.limits.drop {
            DropPolicy::Oldest if new.priority >= lowest => {
                let first = self.queue.partition_point(|queued| queued.priority > lowest);
                first + self.queue.range(first..).position(counts).expect("the last one counts")
            }
            DropPolicy::Newest if new.priority > lowest => last,
            DropPolicy::Oldest | DropPolicy::Newest => return false,
        };
        if victim == 0 {
            return self.pop_queue().is_some();
        }
        let dropped = self.queue.remove(victim).expect("the place was just found");
        self.queue_bytes -= dropped.message.size() as u32;
        self.replayed -= u32::from(dropped.replayed);
        true
    }

    fn pop_queue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.size() as u32;
        self.replayed -= u32::from(queued.replayed);
        Some(queued)
    }

    /// What is to be sent again comes before anything new, so `None` means to wait for room.
    fn next_again(&mut self) -> Option<Outgoing> {
        let sent = self.in_flight.len() - usize::from(self.resend);
        let entry = self.in_flight.iter_mut().find(|entry| entry.resend)?;
        // The new connection's window may be smaller; a release needs no room in it (section 4.9).
        if !entry.received && sent >= usize::from(self.window) {
            return None;
        }
        entry.resend = false;
        self.resend -= 1;
        let mut outgoing = outgoing(&entry.queued, Some(identifier(entry.serial)));
        outgoing.duplicate = !entry.received;
        outgoing.released = entry.received;
        Some(outgoing)
    }

    /// The next serial whose identifier is not in flight.
    fn allocate(&mut self) -> u64 {
        // Identifiers repeat after 65,535 serials, so only an entry that old can collide.
        while self.in_flight.front().is_some_and(|oldest| self.next_serial - oldest.serial >= IDENTIFIERS)
            && self.position(identifier(self.next_serial)).is_some()
        {
            self.next_serial += 1;
        }
        self.next_serial += 1;
        self.next_serial - 1
    }
}

fn outgoing(queued: &Queued, id: Option<DeliveryId>) -> Outgoing {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest message that waits is to cost at most 250 bytes.
    #[test]
    fn what_waits_is_small() {
        assert!(size_of::<Queued>() <= 40, "{}", size_of::<Queued>());
        assert!(size_of::<InFlight>() <= 56, "{}", size_of::<InFlight>());
        assert!(size_of::<Outbox>() <= 112, "{}", size_of::<Outbox>());
    }
}
