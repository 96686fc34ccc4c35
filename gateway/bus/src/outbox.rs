mod drain;
mod transfer;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use gateway_model::{DeliveryId, Identifiers, Message, Outgoing, Qos, Settled, Settlement};

pub(crate) use self::drain::Drain;
pub(crate) use self::transfer::Reach;
use crate::{DropPolicy, DropReason, QueueLimits};

/// A session's in-flight window and its bounded queue.
///
/// ```text
///   push ──▶ queue ──next──▶ QoS 0: delivered
///             │ ▲    └─────▶ in flight ──settle──▶ delivered | dropped
///             │ │              ▲   │ Received: only the release is still to be sent
///             │ │              └───┘ restart, Returned: to be sent again, in order
///        take ▼ │ merge
///       another member of the group ◀─take── in flight, not acknowledged in time: withdrawn,
///                                            which keeps the identifier until it is answered
/// ```
///
/// Invariant: `matched == delivered + dropped + entries.len() - withdrawn` (wrapping). What moves to
/// another session is taken off `matched` here and added to it there.
pub(crate) struct Outbox {
    /// First what is in flight, in any order: `serial` tells that of first sending. Behind it the
    /// queue: the highest priority first, in order of arrival within one. What is sent next goes in
    /// flight where it stands; for what leaves between, the first entry takes its place.
    entries: VecDeque<Entry>,
    /// Serial of the next delivery above QoS 0.
    next_serial: u32,
    /// No serial in flight is before this one.
    first_serial: u32,
    queue_bytes: u32,
    /// Retained messages in the queue.
    replayed: u32,
    matched: u32,
    delivered: u32,
    dropped: u32,
    pub(crate) limits: QueueLimits,
    /// How many entries are in flight, those that were withdrawn included.
    in_flight: u16,
    /// How many of those are somebody else's now.
    withdrawn: u16,
    /// How many of those are to be sent again.
    resend: u16,
    /// Entries in flight at most.
    window: u16,
}

/// One copy of a message, waiting or in flight.
pub(crate) struct Entry {
    pub(crate) message: Arc<Message>,
    pub(crate) identifiers: Identifiers,
    /// Number of the group it was shared in; 0 is none.
    pub(crate) group: u32,
    /// Its place in the sequence of the group. It repeats after 2^32 messages, when some that move
    /// may be put in the wrong place once.
    pub(crate) ticket: u32,
    /// In flight: its position in the sequence of identifiers.
    serial: u32,
    pub(crate) qos: Qos,
    /// Higher goes first.
    pub(crate) priority: u8,
    pub(crate) retain: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Waiting; another member of the group did not acknowledge it in time.
    Moved,
    /// Waiting; a retained message for a new subscription: not held to the number of messages,
    /// which is for what piles up while nobody reads.
    Replayed,
    Sent,
    /// Sent after it had moved: it stays, so that what is slow everywhere is not done for ever.
    Kept,
    /// To be sent again.
    Again,
    /// The receiver has the message (PUBREC).
    Received,
    /// The receiver has the message: the release is to be sent again.
    Release,
    /// It moved to another member of the group: a late acknowledgement frees the identifier.
    Withdrawn,
}

const IDENTIFIERS: u32 = u16::MAX as u32;
/// Serials go round; a whole number of times through the identifiers.
const SERIALS: u32 = IDENTIFIERS * 65_536;

fn identifier(serial: u32) -> DeliveryId {
    DeliveryId::new((serial % IDENTIFIERS) as u16 + 1).expect("a remainder plus one is not zero")
}

impl Entry {
    /// A copy that waits.
    pub(crate) fn new(
        message: Arc<Message>,
        identifiers: Identifiers,
        qos: Qos,
        retain: bool,
        priority: u8,
    ) -> Self {
        let stage = Stage::Waiting;
        Self { message, identifiers, group: 0, ticket: 0, serial: 0, qos, priority, retain, stage }
    }

    /// A copy of a retained message for a new subscription.
    pub(crate) fn replayed(self) -> Self {
        Self { stage: Stage::Replayed, ..self }
    }

    /// A copy that a group gave.
    pub(crate) fn shared(self, group: u32, ticket: u32) -> Self {
        Self { group, ticket, ..self }
    }

    /// By which queues and groups sort.
    pub(crate) fn rank(&self) -> (Reverse<u8>, u32) {
        (Reverse(self.priority), self.ticket)
    }

    /// What stays behind of one that was sent: it belongs to no group any more.
    fn withdrawn(&self) -> Self {
        let (message, identifiers) = (self.message.clone(), Identifiers::None);
        Self { message, identifiers, group: 0, stage: Stage::Withdrawn, ..*self }
    }

    fn is_replayed(&self) -> bool {
        self.stage == Stage::Replayed
    }

    /// Whether it has to be sent (or released) again.
    fn is_again(&self) -> bool {
        matches!(self.stage, Stage::Again | Stage::Release)
    }

    fn is_received(&self) -> bool {
        matches!(self.stage, Stage::Received | Stage::Release)
    }

    /// Of an entry in flight: it is to be sent again.
    fn repeat(&mut self) {
        self.stage = if self.is_received() { Stage::Release } else { Stage::Again };
    }
}

impl Outbox {
    pub(crate) fn new(window: u16, limits: QueueLimits) -> Self {
        Self {
            entries: VecDeque::new(),
            next_serial: 0,
            first_serial: 0,
            queue_bytes: 0,
            replayed: 0,
            matched: 0,
            delivered: 0,
            dropped: 0,
            limits,
            in_flight: 0,
            withdrawn: 0,
            resend: 0,
            window,
        }
    }

    /// A connection begins: everything in flight is to be sent again.
    pub(crate) fn restart(&mut self, window: u16) {
        self.window = window;
        self.forget_withdrawn();
        self.resend = self.in_flight;
        self.sort_in_flight();
        self.entries.range_mut(..usize::from(self.in_flight)).for_each(Entry::repeat);
    }

    /// Queues a copy. Returns the reason and number of copies dropped for it.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) -> Option<(DropReason, u32)> {
        self.matched = self.matched.wrapping_add(1);
        let mut evicted = 0;
        while !self.fits(&entry) {
            if !self.evict_for(&entry) {
                self.dropped = self.dropped.wrapping_add(evicted + 1);
                return Some((DropReason::QueueFull, evicted + 1));
            }
            evicted += 1;
        }
        self.dropped = self.dropped.wrapping_add(evicted);
        self.queue_bytes += entry.message.size() as u32;
        self.replayed += u32::from(entry.is_replayed());
        let is_last =
            self.queued() == 0 || self.entries.back().is_some_and(|last| last.priority >= entry.priority);
        if is_last {
            self.entries.push_back(entry);
        } else {
            self.entries.insert(self.first_below(entry.priority), entry);
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
        let Some(place) = self.position(id) else { return Settled::Unknown };
        let entry = &mut self.entries[place];
        let is_withdrawn = entry.stage == Stage::Withdrawn;
        let is_delivered = match settlement {
            Settlement::Received if entry.qos == Qos::ExactlyOnce => {
                entry.stage = if entry.is_again() { Stage::Release } else { Stage::Received };
                return Settled::Done;
            }
            Settlement::Returned if !is_withdrawn => {
                self.resend += u16::from(!entry.is_again());
                entry.repeat();
                return Settled::Done;
            }
            Settlement::Delivered => true,
            Settlement::Acknowledged if entry.qos == Qos::AtLeastOnce => true,
            Settlement::Completed if entry.is_received() => true,
            Settlement::Refused(qos) if entry.qos == qos => false,
            Settlement::Dropped(_) | Settlement::Returned => false,
            Settlement::Received
            | Settlement::Acknowledged
            | Settlement::Completed
            | Settlement::Refused(_) => return Settled::Misfit,
        };
        if is_withdrawn {
            self.withdrawn -= 1;
        } else {
            let ended = if is_delivered { &mut self.delivered } else { &mut self.dropped };
            *ended = ended.wrapping_add(1);
        }
        self.resend -= u16::from(entry.is_again());
        self.in_flight -= 1;
        self.entries.swap(place, 0);
        self.entries.pop_front();
        self.rest();
        Settled::Done
    }

    /// Empties the outbox; returns how many copies went.
    pub(crate) fn clear(&mut self) -> u32 {
        let gone = self.backlog() as u32;
        self.dropped = self.dropped.wrapping_add(gone);
        self.entries = VecDeque::new();
        (self.queue_bytes, self.replayed) = (0, 0);
        (self.in_flight, self.withdrawn, self.resend) = (0, 0, 0);
        gone
    }

    /// Drops what waits at QoS 0: its receiver is gone and it is not to be stored.
    pub(crate) fn clear_qos0(&mut self) -> u32 {
        let before = self.entries.len();
        let (bytes, replayed) = (&mut self.queue_bytes, &mut self.replayed);
        // Nothing in flight is at QoS 0.
        self.entries.retain(|entry| {
            let keep = entry.qos != Qos::AtMostOnce;
            if !keep {
                *bytes -= entry.message.size() as u32;
                *replayed -= u32::from(entry.is_replayed());
            }
            keep
        });
        let gone = (before - self.entries.len()) as u32;
        self.dropped = self.dropped.wrapping_add(gone);
        gone
    }

    pub(crate) fn queued(&self) -> usize {
        self.entries.len() - self.in_flight()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.into()
    }

    /// Deliveries above QoS 0 that are not settled.
    pub(crate) fn unsettled(&self) -> usize {
        (self.in_flight - self.withdrawn).into()
    }

    pub(crate) fn backlog(&self) -> usize {
        self.entries.len() - usize::from(self.withdrawn)
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
        const SPARE: usize = 64;
        let (length, capacity) = (self.entries.len(), self.entries.capacity());
        if length == 0 && capacity > 0 {
            self.entries = VecDeque::new();
        } else if capacity > SPARE && length < capacity / 4 {
            self.entries.shrink_to(2 * length);
        }
    }

    fn position(&self, id: DeliveryId) -> Option<usize> {
        self.entries.range(..self.in_flight()).position(|entry| identifier(entry.serial) == id)
    }

    /// Where the queue has its first entry of a lower priority.
    fn first_below(&self, priority: u8) -> usize {
        let (mut low, mut high) = (self.in_flight(), self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entries[middle].priority >= priority {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn fits(&self, entry: &Entry) -> bool {
        (entry.is_replayed() || self.messages_free() > 0) && entry.message.size() <= self.bytes_free()
    }

    /// Drops one copy that has less right to be here than the new one: of the lowest priority the
    /// oldest, or the newest if that is the policy. False if there is none.
    ///
    /// Where it is the number that is too large, replayed messages stay, as they do not count.
    fn evict_for(&mut self, new: &Entry) -> bool {
        let size = new.message.size();
        if size > self.limits.bytes_max as usize {
            return false;
        }
        let any = size > self.bytes_free() || self.replayed == 0;
        let counts = |entry: &Entry| any || !entry.is_replayed();
        let begin = self.in_flight();
        let Some(last) = self.entries.range(begin..).rposition(counts) else { return false };
        let last = begin + last;
        let lowest = self.entries[last].priority;
        let victim = match self.limits.drop {
            DropPolicy::Oldest if new.priority >= lowest => {
                let first = if lowest == u8::MAX { begin } else { self.first_below(lowest + 1) };
                first + self.entries.range(first..).position(counts).expect("the last one counts")
            }
            DropPolicy::Newest if new.priority > lowest => last,
            DropPolicy::Oldest | DropPolicy::Newest => return false,
        };
        self.remove_queued(victim);
        true
    }

    #[inline(always)]
    fn remove_queued(&mut self, place: usize) -> Option<Entry> {
        let entry = if place == 0 {
            self.entries.pop_front()?
        } else if place == self.in_flight() {
            self.entries.swap(place, 0);
            self.entries.pop_front()?
        } else {
            self.entries.remove(place)?
        };
        self.queue_bytes -= entry.message.size() as u32;
        self.replayed -= u32::from(entry.is_replayed());
        Some(entry)
    }

    /// What is to be sent again comes before anything new, so `None` means to wait for room.
    fn next_again(&mut self) -> Option<Outgoing> {
        let sent = self.in_flight - self.resend;
        let first = self.first_serial;
        let in_flight = self.entries.range_mut(..usize::from(self.in_flight));
        let again = in_flight.filter(|entry| entry.is_again());
        let entry = again.min_by_key(|entry| distance(first, entry.serial))?;
        let received = entry.is_received();
        // The new connection's window may be smaller; a release needs no room in it (section 4.9).
        if !received && sent >= self.window {
            return None;
        }
        entry.stage = if received { Stage::Received } else { Stage::Sent };
        self.resend -= 1;
        let mut outgoing = outgoing(entry, Some(identifier(entry.serial)));
        outgoing.duplicate = !received;
        outgoing.released = received;
        Some(outgoing)
    }

    /// Sends the first of the queue, above QoS 0.
    fn send(&mut self) -> Outgoing {
        let serial = self.allocate();
        let entry = &mut self.entries[usize::from(self.in_flight)];
        self.in_flight += 1;
        self.queue_bytes -= entry.message.size() as u32;
        self.replayed -= u32::from(entry.is_replayed());
        entry.serial = serial;
        entry.stage = if entry.stage == Stage::Moved { Stage::Kept } else { Stage::Sent };
        outgoing(entry, Some(identifier(serial)))
    }

    /// The next serial whose identifier is not in flight.
    fn allocate(&mut self) -> u32 {
        if self.in_flight == 0 {
            self.first_serial = self.next_serial;
        }
        // Identifiers repeat after 65,535 serials, so only an entry that old can collide.
        while distance(self.first_serial, self.next_serial) >= IDENTIFIERS {
            let first = self.first_serial;
            let serials = self.entries.range(..self.in_flight()).map(|entry| entry.serial);
            let oldest = serials.min_by_key(|serial| distance(first, *serial));
            self.first_serial = oldest.unwrap_or(self.next_serial);
            if self.position(identifier(self.next_serial)).is_none() {
                break;
            }
            self.next_serial = (self.next_serial + 1) % SERIALS;
        }
        let serial = self.next_serial;
        self.next_serial = (serial + 1) % SERIALS;
        serial
    }

    /// Puts what is in flight in order of first sending.
    fn sort_in_flight(&mut self) {
        let (first, count) = (self.first_serial, self.in_flight());
        self.entries.make_contiguous()[..count].sort_by_key(|entry| distance(first, entry.serial));
    }
}

/// How many serials `to` is behind `from`.
fn distance(from: u32, to: u32) -> u32 {
    if from <= to { to - from } else { SERIALS - from + to }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest message that waits is to cost at most 250 bytes.
    #[test]
    fn what_waits_is_small() {
        assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
        assert!(size_of::<Outbox>() <= 80, "{}", size_of::<Outbox>());
    }

    #[test]
    fn serials_go_round() {
        let mut outbox = Outbox::new(10, QueueLimits::default());
        (outbox.next_serial, outbox.first_serial) = (SERIALS - 2, SERIALS - 2);
        let serials: Vec<_> = (0..4).map(|_| outbox.allocate()).collect();
        assert_eq!(serials, [SERIALS - 2, SERIALS - 1, 0, 1]);
        let ids: Vec<_> = serials.into_iter().map(|serial| identifier(serial).get()).collect();
        assert_eq!(ids, [65_534, 65_535, 1, 2]);
    }
}
