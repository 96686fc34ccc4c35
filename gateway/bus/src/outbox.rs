use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Deliveries, DeliveryId, Identifiers, Message, Outgoing, Qos, Settlement};

use crate::{DropPolicy, DropReason, QueueLimits};

/// A session's bounded queue and its in-flight window.
///
/// ```text
///   push ──▶ queue ──next──▶ QoS 0: delivered
///                    └─────▶ in flight ──settle──▶ delivered | dropped
///                              ▲   │ Received: only the release is still to be sent
///                              └───┘ restart, Returned: to be sent again, in order
/// ```
///
/// Invariant: `matched == delivered + dropped + queue.len() + in_flight.len()` (wrapping).
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
    /// In order of first sending; `serial` ascends.
    in_flight: VecDeque<InFlight>,
    queue_bytes: usize,
    /// Retained messages in the queue.
    replayed: usize,
    /// Serial of the next delivery above QoS 0.
    next_serial: u64,
    /// How many entries in flight are to be sent again.
    resend: usize,
    /// Entries in flight at most.
    window: u16,
    pub(crate) limits: QueueLimits,
    pub(crate) tally: Tally,
    matched: u32,
    delivered: u32,
    dropped: u32,
}

/// One copy of a message, waiting.
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) identifiers: Identifiers,
    pub(crate) qos: Qos,
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

/// What happened since the counters were last told.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) delivered: u32,
    pub(crate) expired: u32,
    /// Taken at QoS 0 and refused by the receiver's limits: reason and count of the last kind.
    pub(crate) refused: Option<(&'static str, u32)>,
}

const IDENTIFIERS: u64 = u16::MAX as u64;

fn identifier(serial: u64) -> DeliveryId {
    DeliveryId::new((serial % IDENTIFIERS) as u16 + 1).expect("a remainder plus one is not zero")
}

impl Outbox {
    pub(crate) fn new(window: u16, limits: QueueLimits) -> Self {
        Self {
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            queue_bytes: 0,
            replayed: 0,
            next_serial: 0,
            resend: 0,
            window,
            limits,
            tally: Tally::default(),
            matched: 0,
            delivered: 0,
            dropped: 0,
        }
    }

    /// A connection begins: everything in flight is to be sent again.
    pub(crate) fn restart(&mut self, window: u16) {
        self.window = window;
        self.resend = self.in_flight.len();
        self.in_flight.iter_mut().for_each(|entry| entry.resend = true);
    }

    /// Queues a copy. Returns the reason and number of copies dropped for it.
    pub(crate) fn push(&mut self, queued: Queued) -> Option<(DropReason, u32)> {
        let size = queued.message.size();
        self.matched = self.matched.wrapping_add(1);
        let fits = |outbox: &Self| {
            (queued.replayed || outbox.queue.len() - outbox.replayed < outbox.limits.messages_max as usize)
                && outbox.queue_bytes + size <= outbox.limits.bytes_max as usize
        };
        let mut evicted = 0;
        if !fits(self) {
            if self.limits.drop == DropPolicy::Oldest && size <= self.limits.bytes_max as usize {
                while !fits(self) && self.drop_oldest(size) {
                    evicted += 1;
                }
            }
            if !fits(self) {
                self.dropped = self.dropped.wrapping_add(evicted + 1);
                return Some((DropReason::QueueFull, evicted + 1));
            }
            self.dropped = self.dropped.wrapping_add(evicted);
        }
        self.queue_bytes += size;
        self.replayed += usize::from(queued.replayed);
        self.queue.push_back(queued);
        (evicted > 0).then_some((DropReason::QueueFull, evicted))
    }

    /// How many retained messages are worth reading for a new subscription: as many as can fit, and
    /// one more, whose drop tells that there were more.
    pub(crate) fn replay_room(&self) -> usize {
        (self.limits.bytes_max as usize).saturating_sub(self.queue_bytes) / Message::SIZE_MIN + 1
    }

    /// Accounts for a copy that is not even queued.
    pub(crate) fn reject(&mut self) {
        self.matched = self.matched.wrapping_add(1);
        self.dropped = self.dropped.wrapping_add(1);
    }

    /// Whether the delivery was in flight, and how it ended, if it did.
    pub(crate) fn settle(&mut self, id: DeliveryId, settlement: Settlement) -> bool {
        let Some(index) = self.position(id) else { return false };
        match settlement {
            Settlement::Received => {
                self.in_flight[index].received = true;
                return true;
            }
            Settlement::Returned => {
                let entry = &mut self.in_flight[index];
                self.resend += usize::from(!entry.resend);
                entry.resend = true;
                return true;
            }
            Settlement::Delivered => self.delivered = self.delivered.wrapping_add(1),
            Settlement::Dropped(_) => self.dropped = self.dropped.wrapping_add(1),
        }
        let entry = if index == 0 { self.in_flight.pop_front() } else { self.in_flight.remove(index) };
        self.resend -= usize::from(entry.is_some_and(|entry| entry.resend));
        self.shrink();
        true
    }

    /// Empties the outbox; returns how many copies went.
    pub(crate) fn clear(&mut self) -> u32 {
        let gone = (self.queue.len() + self.in_flight.len()) as u32;
        self.dropped = self.dropped.wrapping_add(gone);
        self.queue = VecDeque::new();
        self.in_flight = VecDeque::new();
        self.queue_bytes = 0;
        self.replayed = 0;
        self.resend = 0;
        gone
    }

    /// Drops what waits at QoS 0: its receiver is gone and it is not to be stored.
    pub(crate) fn clear_qos0(&mut self) -> u32 {
        let before = self.queue.len();
        let (bytes, replayed) = (&mut self.queue_bytes, &mut self.replayed);
        self.queue.retain(|queued| {
            let keep = queued.qos != Qos::AtMostOnce;
            if !keep {
                *bytes -= queued.message.size();
                *replayed -= usize::from(queued.replayed);
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

    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Copies that the ledger cannot explain; not 0 means a defect.
    pub(crate) fn unaccounted(&self) -> u32 {
        let present = (self.queue.len() + self.in_flight.len()) as u32;
        self.matched.wrapping_sub(self.delivered).wrapping_sub(self.dropped).wrapping_sub(present)
    }

    fn position(&self, id: DeliveryId) -> Option<usize> {
        self.in_flight.iter().position(|entry| identifier(entry.serial) == id)
    }

    /// Makes room for `size` bytes: where it is the number that is too large, replayed messages
    /// stay, as they do not count.
    fn drop_oldest(&mut self, size: usize) -> bool {
        let has_room = self.queue_bytes + size <= self.limits.bytes_max as usize;
        if !has_room || self.replayed == 0 {
            return self.pop_queue().is_some();
        }
        let oldest = self.queue.iter().position(|queued| !queued.replayed);
        let dropped = oldest.and_then(|index| self.queue.remove(index));
        self.queue_bytes -= dropped.as_ref().map_or(0, |queued| queued.message.size());
        dropped.is_some()
    }

    fn pop_queue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.size();
        self.replayed -= usize::from(queued.replayed);
        Some(queued)
    }

    /// An outbox with nothing in it holds no buffers: idle sessions are what there is most of.
    fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
        if self.in_flight.is_empty() && self.in_flight.capacity() > 0 {
            self.in_flight = VecDeque::new();
        }
    }

    /// What is to be sent again comes before anything new, so `None` means to wait for room.
    fn next_again(&mut self) -> Option<Outgoing> {
        let sent = self.in_flight.len() - self.resend;
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

impl Deliveries for Outbox {
    fn next(&mut self, now: Instant) -> Option<Outgoing> {
        if self.resend > 0 {
            return self.next_again();
        }
        loop {
            let head = self.queue.front()?;
            if head.message.is_expired(now) {
                self.pop_queue();
                self.dropped = self.dropped.wrapping_add(1);
                self.tally.expired += 1;
                continue;
            }
            if head.qos == Qos::AtMostOnce {
                let Queued { message, identifiers, qos, retain, .. } = self.pop_queue()?;
                self.delivered = self.delivered.wrapping_add(1);
                self.tally.delivered += 1;
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
            if self.in_flight.len() >= usize::from(self.window) {
                return None;
            }
            let serial = self.allocate();
            let queued = self.pop_queue()?;
            let next = outgoing(&queued, Some(identifier(serial)));
            self.in_flight.push_back(InFlight { queued, serial, received: false, resend: false });
            return Some(next);
        }
    }

    fn refuse_last(&mut self, reason: &'static str) {
        debug_assert!(self.tally.delivered > 0, "only what was taken can be refused");
        self.delivered = self.delivered.wrapping_sub(1);
        self.dropped = self.dropped.wrapping_add(1);
        self.tally.delivered = self.tally.delivered.saturating_sub(1);
        let count = self.tally.refused.map_or(0, |(_, count)| count);
        self.tally.refused = Some((reason, count + 1));
    }

    fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }
}

impl Outbox {
    /// Gives buffers back once a turn has drained the queue.
    pub(crate) fn rest(&mut self) {
        self.shrink();
    }
}
