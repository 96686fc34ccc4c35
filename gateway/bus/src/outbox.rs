use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Deliveries, DeliveryId, Identifiers, Message, Outgoing, Qos, Settlement};

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

    /// Whether the delivery was in flight and the settlement fits it.
    pub(crate) fn settle(&mut self, id: DeliveryId, settlement: Settlement) -> bool {
        let Some(index) = self.position(id) else { return false };
        let entry = &mut self.in_flight[index];
        let is_delivered = match settlement {
            Settlement::Received if entry.queued.qos == Qos::ExactlyOnce => {
                entry.received = true;
                return true;
            }
            Settlement::Returned => {
                self.resend += u16::from(!entry.resend);
                entry.resend = true;
                return true;
            }
            Settlement::Delivered => true,
            Settlement::Acknowledged if entry.queued.qos == Qos::AtLeastOnce => true,
            Settlement::Completed if entry.received => true,
            Settlement::Refused(qos) if entry.queued.qos == qos => false,
            Settlement::Dropped(_) => false,
            Settlement::Received
            | Settlement::Acknowledged
            | Settlement::Completed
            | Settlement::Refused(_) => return false,
        };
        let ended = if is_delivered { &mut self.delivered } else { &mut self.dropped };
        *ended = ended.wrapping_add(1);
        let entry = if index == 0 { self.in_flight.pop_front() } else { self.in_flight.remove(index) };
        self.resend -= u16::from(entry.is_some_and(|entry| entry.resend));
        self.rest();
        true
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

/// What shared subscriptions need.
impl Outbox {
    /// Messages that may still be queued.
    pub(crate) fn messages_free(&self) -> usize {
        let live = self.queue.len() - self.replayed as usize;
        (self.limits.messages_max as usize).saturating_sub(live)
    }

    /// Bytes that may still be queued.
    pub(crate) fn bytes_free(&self) -> usize {
        (self.limits.bytes_max - self.queue_bytes.min(self.limits.bytes_max)) as usize
    }

    /// Whether nothing above QoS 0 can be sent until something is settled.
    pub(crate) fn is_blocked(&self) -> bool {
        self.in_flight.len() >= usize::from(self.window)
    }

    /// Changes whenever something leaves.
    pub(crate) fn settled(&self) -> u32 {
        self.delivered.wrapping_add(self.dropped)
    }

    /// Whether messages of a group wait or are unacknowledged here that could move.
    pub(crate) fn holds(&self, group: u32) -> bool {
        let may_move = |entry: &InFlight| entry.queued.group == group && entry.queued.qos == Qos::AtLeastOnce;
        self.queue.iter().any(|queued| queued.group == group) || self.in_flight.iter().any(may_move)
    }

    /// Numbers of the groups it holds messages of, each once.
    pub(crate) fn groups(&self) -> Vec<u32> {
        let all = self.queue.iter().chain(self.in_flight.iter().map(|entry| &entry.queued));
        let mut groups: Vec<u32> = all.map(|queued| queued.group).filter(|group| *group > 0).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Takes out copies of a group, in order, until `place` has no place for one. `sent`: also what
    /// was sent at QoS 1 and not acknowledged. What was sent at QoS 2 stays (MQTT-4.8.2-4).
    pub(crate) fn take<P>(
        &mut self,
        group: u32,
        sent: bool,
        mut place: impl FnMut(&Queued) -> Option<P>,
    ) -> Vec<(P, Queued)> {
        let mut taken = Vec::new();
        let mut is_over = false;
        let mut decide = |queued: &Queued, may_move: bool| {
            let found = if is_over || !may_move || queued.group != group { None } else { place(queued) };
            is_over |= may_move && queued.group == group && found.is_none();
            found
        };
        if sent {
            for entry in std::mem::take(&mut self.in_flight) {
                match decide(&entry.queued, entry.queued.qos == Qos::AtLeastOnce) {
                    Some(place) => {
                        self.resend -= u16::from(entry.resend);
                        taken.push((place, entry.queued));
                    }
                    None => self.in_flight.push_back(entry),
                }
            }
        }
        for queued in std::mem::take(&mut self.queue) {
            match decide(&queued, true) {
                Some(place) => {
                    self.queue_bytes -= queued.message.size() as u32;
                    self.replayed -= u32::from(queued.replayed);
                    taken.push((place, queued));
                }
                None => self.queue.push_back(queued),
            }
        }
        self.matched = self.matched.wrapping_sub(taken.len() as u32);
        self.rest();
        taken
    }

    /// Takes out everything of groups that may go to others; the session has ended.
    pub(crate) fn take_shared(&mut self) -> Vec<Queued> {
        let mut all = Vec::new();
        for group in self.groups() {
            all.extend(self.take(group, true, |_| Some(())).into_iter().map(|(_, queued)| queued));
        }
        all
    }

    /// Accounts for copies that were taken out and then dropped.
    pub(crate) fn lose(&mut self, count: u32) {
        self.matched = self.matched.wrapping_add(count);
        self.dropped = self.dropped.wrapping_add(count);
    }

    /// Puts copies of one group among those that wait, each at its place in the sequence of the
    /// group. Returns how many were dropped for want of room.
    pub(crate) fn merge(&mut self, mut copies: Vec<Queued>) -> u32 {
        copies.sort_by_key(Queued::rank);
        let all = copies.len() as u32;
        self.matched = self.matched.wrapping_add(all);
        let mut room = (self.messages_free(), self.bytes_free());
        copies.retain(|queued| {
            let size = queued.message.size();
            let fits = room.0 > 0 && size <= room.1;
            if fits {
                room = (room.0 - 1, room.1 - size);
            }
            fits
        });
        let dropped = all - copies.len() as u32;
        self.dropped = self.dropped.wrapping_add(dropped);
        self.queue_bytes += copies.iter().map(|queued| queued.message.size() as u32).sum::<u32>();
        let mut copies = copies.into_iter().peekable();
        let before = std::mem::take(&mut self.queue);
        self.queue.reserve(before.len() + copies.len());
        for present in before {
            let goes_first = |next: &Queued| {
                next.priority > present.priority
                    || next.group == present.group && next.rank() < present.rank()
            };
            while let Some(next) = copies.next_if(goes_first) {
                self.queue.push_back(next);
            }
            self.queue.push_back(present);
        }
        self.queue.extend(copies);
        dropped
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
