use std::cmp::Reverse;
use std::collections::BTreeMap;

use gateway_store::{CopyImage, CopyState, Shared};

use super::flight::far_from;
use super::{Changes, Entry, Gone, Outbox, Stage};

impl Outbox {
    /// Takes in what a session had when the gateway stopped. What has an ordinal before `sent_before`
    /// may have been sent and is marked as a duplicate when it is sent. `group` knows the number of a
    /// group that copies were shared in, if it exists.
    pub(crate) fn restore(
        &mut self,
        copies: BTreeMap<u64, CopyImage>,
        next_ordinal: u64,
        sent_before: u64,
        group: &dyn Fn(Shared) -> Option<u32>,
        changes: &mut Changes<'_>,
    ) {
        let beyond = copies.last_key_value().map_or(0, |(last, _)| last + 1);
        self.next_ordinal = self.next_ordinal.max(next_ordinal).max(beyond);
        self.base = far_from(self.next_ordinal);
        let mut waiting = Vec::new();
        for (ordinal, image) in copies {
            self.matched = self.matched.wrapping_add(1);
            let state = image.state;
            let Some(mut entry) = self.load(ordinal, image, group, changes) else { continue };
            if state == CopyState::Received {
                (entry.serial, entry.stage) = (self.next_serial, Stage::Release);
                self.next_serial = self.next_serial.wrapping_add(1);
                self.in_flight += 1;
                self.rare_mut().resend += 1;
                self.entries.push_back(entry);
                continue;
            }
            entry.serial = u32::from(ordinal < sent_before);
            self.queue_bytes += entry.message.size() as u32;
            if entry.is_replayed() {
                self.rare_mut().replayed += 1;
            }
            waiting.push(entry);
        }
        waiting.sort_by_key(|entry| Reverse(entry.priority));
        in_order_of_tickets(&mut waiting);
        self.entries.extend(waiting);
    }

    /// A copy with its message, if that can be read.
    fn load(
        &mut self,
        ordinal: u64,
        image: CopyImage,
        group: &dyn Fn(Shared) -> Option<u32>,
        changes: &mut Changes<'_>,
    ) -> Option<Entry> {
        let CopyImage { place, qos, retain, priority, state, identifiers, shared, .. } = image;
        let Some(Ok(message)) = changes.store().map(|store| store.read(place)) else {
            changes.damaged += 1;
            changes.gone.push(Gone { ordinal, place });
            self.settled = self.settled.wrapping_add(1);
            return None;
        };
        message.stored.set(place.number());
        let mut entry = Entry::new(message, identifiers, qos, retain, priority);
        entry.set_ordinal(ordinal);
        entry.list();
        entry.stage = match state {
            CopyState::Moved => Stage::Moved,
            CopyState::Replayed => Stage::Replayed,
            CopyState::Waiting | CopyState::Received => Stage::Waiting,
        };
        let known = shared.and_then(|shared| Some((group(shared)?, shared.ticket)));
        (entry.group, entry.ticket) = known.unwrap_or_default();
        Some(entry)
    }
}

/// Puts the copies of each group and priority among their own places in the order of their tickets.
fn in_order_of_tickets(waiting: &mut [Entry]) {
    let mut places: BTreeMap<(u8, u32), Vec<usize>> = BTreeMap::new();
    for (place, entry) in waiting.iter().enumerate().filter(|(_, entry)| entry.group > 0) {
        places.entry((entry.priority, entry.group)).or_default().push(place);
    }
    let mut order: Vec<usize> = (0..waiting.len()).collect();
    for places in places.into_values() {
        let mut sorted = places.clone();
        sorted.sort_by_key(|place| waiting[*place].ticket);
        places.into_iter().zip(sorted).for_each(|(place, from)| order[place] = from);
    }
    // `order` is a permutation: follow its cycles.
    for start in 0..order.len() {
        let mut place = start;
        while order[place] != start {
            let from = order[place];
            waiting.swap(place, from);
            order[place] = place;
            place = from;
        }
        order[place] = place;
    }
}
