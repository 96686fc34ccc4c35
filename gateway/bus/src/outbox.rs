mod bounds;
mod changes;
mod drain;
mod dropping;
mod entry;
mod flight;
mod paging;
mod rare;
mod restore;
mod tail;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;

use gateway_model::{DeliveryId, Message, Qos, Settled, Settlement};
use gateway_store::{CopyState, Place};

use self::bounds::Bounds;
pub(crate) use self::changes::{Changes, Gone};
pub(crate) use self::drain::Drain;
pub(crate) use self::entry::Entry;
use self::entry::Stage;
use self::rare::Rare;
pub(crate) use self::tail::{Lookups, Tail};
pub(crate) use self::transfer::Reach;
use crate::budget::Budget;
use crate::{DropReason, QueueLimits};

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
/// Invariant: `matched == settled + entries.len() - withdrawn` (wrapping). What moves to
/// another session is taken off `matched` here and added to it there.
pub(crate) struct Outbox {
    /// First what is in flight, in any order: `serial` tells that of first sending. Behind it the
    /// queue: the highest priority first, in order of arrival within one. What is sent next goes in
    /// flight where it stands; for what leaves between, the first entry takes its place.
    entries: VecDeque<Entry>,
    /// The ordinal of the next copy that gets one.
    next_ordinal: u64,
    rare: Option<Box<Rare>>,
    bounds: Bounds,
    /// Serial of the next delivery above QoS 0. Serials go round.
    next_serial: u32,
    /// The lower half of an ordinal: all in flight are less than the number of identifiers behind it,
    /// or else it is far from them all.
    base: u32,
    queue_bytes: u32,
    matched: u32,
    /// Delivered or dropped.
    settled: u32,
    /// How many entries are in flight, those that were withdrawn included.
    in_flight: u16,
    /// Entries in flight at most.
    window: u16,
}

/// What became of a copy that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// It was queued, and the log is to list it under this ordinal.
    pub(crate) listed: Option<u64>,
    /// Copies dropped for it, or itself.
    pub(crate) dropped: Option<(DropReason, u32)>,
}

impl Outbox {
    /// `durable`: copies may be listed in the log.
    pub(crate) fn new(window: u16, limits: QueueLimits, durable: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            next_ordinal: 0,
            rare: None,
            bounds: Bounds::new(limits, durable),
            next_serial: 0,
            base: 0,
            queue_bytes: 0,
            matched: 0,
            settled: 0,
            in_flight: 0,
            window,
        }
    }

    #[inline]
    pub(crate) fn limits(&self) -> QueueLimits {
        self.bounds.limits()
    }

    /// A session that came through a restart has those of its opener only now.
    pub(crate) fn set_limits(&mut self, limits: QueueLimits) {
        self.bounds = Bounds::new(limits, self.is_durable());
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.bounds.is_durable()
    }

    /// The ordinal of the next copy that gets one.
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    /// A connection begins: everything in flight is to be sent again.
    pub(crate) fn restart(&mut self, window: u16) {
        self.window = window;
        self.bounds.set_away(false);
        self.forget_withdrawn();
        self.sort_in_flight();
        self.entries.range_mut(..usize::from(self.in_flight)).for_each(Entry::repeat);
        if self.in_flight > 0 || self.rare.is_some() {
            self.rare_mut().resend = self.in_flight;
        }
    }

    /// Queues a copy behind all others, if it fits there and nobody else has to hear of it: a short queue
    /// in memory. Else it comes back, for [`Outbox::push`].
    #[inline(always)]
    pub(crate) fn push_last(&mut self, mut entry: Entry) -> Result<(), Entry> {
        let size = entry.message.size();
        let is_short = Budget::steps(self.queue_bytes as usize + size) == 0;
        let is_simple = is_short && self.is_last(&entry) && self.rare.is_none() && !self.is_durable();
        if !is_simple || !self.fits(&entry) {
            return Err(entry);
        }
        self.matched = self.matched.wrapping_add(1);
        self.number(&mut entry);
        self.queue_bytes += size as u32;
        self.entries.push_back(entry);
        Ok(())
    }

    /// Queues a copy, unless there is no room for it. The log may list only what goes to a durable
    /// session above QoS 0 and was published so.
    #[inline(always)]
    pub(crate) fn push(&mut self, mut entry: Entry, changes: &mut Changes<'_>) -> Pushed {
        self.matched = self.matched.wrapping_add(1);
        let mut evicted = 0;
        if changes.is_tight || !self.fits(&entry) {
            let has_room = self.make_room(&entry, &mut evicted, changes);
            self.settled = self.settled.wrapping_add(evicted + u32::from(!has_room));
            if !has_room {
                return Pushed { listed: None, dropped: Some((DropReason::QueueFull, evicted + 1)) };
            }
        }
        self.number(&mut entry);
        let listed = entry.is_listed().then(|| entry.ordinal());
        self.queue_bytes += entry.message.size() as u32;
        if entry.is_replayed() {
            self.rare_mut().replayed += 1;
        }
        self.enqueue(entry, changes);
        Pushed { listed, dropped: (evicted > 0).then_some((DropReason::QueueFull, evicted)) }
    }

    /// Copies before this ordinal may have been sent.
    pub(crate) fn sent_before(&self) -> u64 {
        let waits = |place: usize| place >= self.in_flight();
        let entries = self.entries.iter().enumerate();
        let sent = entries.filter(|(place, entry)| !waits(*place) || entry.serial != 0);
        let behind = self.tail().map_or(0, Tail::sent_before);
        sent.map(|(_, entry)| entry.ordinal() + 1).max().unwrap_or(0).max(behind)
    }

    /// The state of a copy that the log lists at `place`, if it is still here.
    pub(crate) fn held(&self, ordinal: u64, place: Place, lookups: &mut Lookups) -> Option<CopyState> {
        match self.listed(ordinal) {
            Some(entry) => (entry.place() == place).then(|| entry.state()),
            None => self.tail()?.find(ordinal, place, lookups),
        }
    }

    /// A copy that the log lists lies elsewhere from now on.
    pub(crate) fn moved(&mut self, ordinal: u64, place: Place) {
        if let Some(entry) = self.listed(ordinal) {
            entry.message.stored.set(place.number());
        } else if let Some(tail) = self.tail_mut() {
            tail.relocate(ordinal, place);
        }
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

    /// What the log has to be told of a copy that it lists is among the changes.
    pub(crate) fn settle(
        &mut self,
        id: DeliveryId,
        settlement: Settlement,
        changes: &mut Changes<'_>,
    ) -> Settled {
        let Some(place) = self.position(id) else { return Settled::Unknown };
        let entry = &mut self.entries[place];
        let is_withdrawn = entry.stage == Stage::Withdrawn;
        match settlement {
            Settlement::Received if entry.qos == Qos::ExactlyOnce => {
                entry.stage = if entry.is_again() { Stage::Release } else { Stage::Received };
                changes.received = entry.is_listed().then(|| entry.ordinal());
                return Settled::Done;
            }
            Settlement::Returned if !is_withdrawn => {
                let is_new = !entry.is_again();
                entry.repeat();
                if is_new {
                    self.rare_mut().resend += 1;
                }
                return Settled::Done;
            }
            Settlement::Acknowledged if entry.qos == Qos::AtLeastOnce => {}
            Settlement::Completed if entry.is_received() => {}
            Settlement::Refused(qos) if entry.qos == qos => {}
            Settlement::Delivered | Settlement::Dropped(_) | Settlement::Returned => {}
            Settlement::Received
            | Settlement::Acknowledged
            | Settlement::Completed
            | Settlement::Refused(_) => return Settled::Misfit,
        }
        let is_again = entry.is_again();
        self.in_flight -= 1;
        self.entries.swap(place, 0);
        let entry = self.entries.pop_front().expect("it was found");
        changes.leaves(&entry);
        if is_withdrawn {
            self.rare_mut().withdrawn -= 1;
        } else {
            self.settled = self.settled.wrapping_add(1);
        }
        if is_again {
            self.rare_mut().resend -= 1;
        }
        self.rest();
        Settled::Done
    }

    pub(crate) fn queued(&self) -> usize {
        self.head() + self.behind()
    }

    /// Deliveries above QoS 0 that are not settled.
    pub(crate) fn unsettled(&self) -> usize {
        (self.in_flight - self.withdrawn()).into()
    }

    pub(crate) fn backlog(&self) -> usize {
        self.entries.len() - usize::from(self.withdrawn()) + self.behind()
    }

    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes as usize
    }

    /// Copies that the ledger cannot explain; not 0 means a defect.
    pub(crate) fn unaccounted(&self) -> u32 {
        let present = self.backlog() as u32;
        self.matched.wrapping_sub(self.settled).wrapping_sub(present)
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
        if let Some(rare) = &mut self.rare {
            rare.rest();
            if rare.is_nothing() {
                self.rare = None;
            }
        }
    }

    /// Gives the ordinal of a new copy, if it needs one.
    #[inline(always)]
    fn number(&mut self, entry: &mut Entry) {
        let may_be_listed = self.is_durable() && entry.message.qos.min(entry.qos) > Qos::AtMostOnce;
        debug_assert!(may_be_listed || !entry.is_listed(), "what is at QoS 0 is not in the log");
        if entry.qos > Qos::AtMostOnce {
            entry.set_ordinal(self.next_ordinal);
            self.next_ordinal += 1;
        }
    }

    fn listed(&self, ordinal: u64) -> Option<&Entry> {
        let is_it = |entry: &&Entry| entry.is_listed() && entry.ordinal() == ordinal;
        // Nearly always in order, but not where priorities or copies that moved are among them.
        let guess = self.entries.get(self.partition(|entry| entry.ordinal() < ordinal)).filter(is_it);
        guess.or_else(|| self.entries.iter().find(is_it))
    }

    fn resend(&self) -> u16 {
        self.rare.as_ref().map_or(0, |rare| rare.resend)
    }

    fn withdrawn(&self) -> u16 {
        self.rare.as_ref().map_or(0, |rare| rare.withdrawn)
    }

    fn replayed(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.replayed)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Where the queue has its first entry of a lower priority.
    fn first_below(&self, priority: u8) -> usize {
        self.partition(|entry| entry.priority >= priority)
    }

    /// Where the part of the queue ends in which all `are` so, if none behind it is.
    fn partition(&self, are: impl Fn(&Entry) -> bool) -> usize {
        let (mut low, mut high) = (self.in_flight(), self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if are(&self.entries[middle]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod size {
    use super::*;

    /// The smallest message that waits is to cost at most 250 bytes.
    #[test]
    fn what_waits_is_small() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
        assert!(size_of::<Outbox>() <= 80, "{}", size_of::<Outbox>());
    }
}
